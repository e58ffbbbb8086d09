/** A pipe between a guest and the test. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { soon } from "./environment.ts";

export interface Fifo extends Disposable {
  readonly reader: number;
  readonly writer: number;
  /** What has arrived since the last time, without waiting. */
  take(): string;
  /** Waits until all that was taken holds `text`. */
  shows(text: string): Promise<void>;
  /** Until there is room for nothing more. */
  fill(): void;
  closeReader(): void;
}

export function makeFifo(): Fifo {
  const folder = mkdtempSync(join(tmpdir(), "barecell-fifo-"));
  const path = join(folder, "fifo");
  execFileSync("mkfifo", [path]);
  // In this order neither waits for the other, and the writer alone does not keep the pipe open.
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  let readerOpen = true;
  let seen = "";
  const fifo: Fifo = {
    reader,
    writer,
    take() {
      const buffer = Buffer.alloc(65_536);
      let text = "";
      for (;;) {
        try {
          const bytes = readSync(reader, buffer);
          if (bytes === 0) return text;
          text += buffer.toString("latin1", 0, bytes);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "EAGAIN") return text;
          throw error;
        }
      }
    },
    async shows(text) {
      let waiting = true;
      const look = async (): Promise<void> => {
        while (waiting) {
          seen += fifo.take();
          if (seen.includes(text)) return;
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      await soon(`'${text}' in the pipe`, look()).finally(() => {
        waiting = false;
      });
    },
    fill() {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      try {
        for (const bytes of [4096, 1]) {
          const block = Buffer.alloc(bytes, "-");
          try {
            for (;;) writeSync(fd, block);
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
          }
        }
      } finally {
        closeSync(fd);
      }
    },
    closeReader() {
      if (readerOpen) closeSync(reader);
      readerOpen = false;
    },
    [Symbol.dispose]() {
      fifo.closeReader();
      closeSync(writer);
      rmSync(folder, { recursive: true });
    },
  };
  return fifo;
}
