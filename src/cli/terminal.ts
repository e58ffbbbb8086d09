/**
 * Writing to the standard streams. Not through `process.stdout`: the guest writes to the same descriptors itself, so everything here must
 * be out before the next thing happens, and Node must not change their mode.
 */
import { writeSync } from "node:fs";
import { isatty } from "node:tty";
import { styleText } from "node:util";
import { systemErrorCode } from "../errors.ts";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** A standard output stream. */
export class Terminal {
  readonly fd: number;
  /** Whether a person looks at it. */
  readonly isTerminal: boolean;
  readonly #hasColor: boolean;

  constructor(fd: number, environment: Readonly<Record<string, string | undefined>> = process.env) {
    this.fd = fd;
    this.isTerminal = isatty(fd);
    // https://no-color.org: any value that is not empty.
    this.#hasColor = this.isTerminal && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
  }

  /** Writes all of it. A reader that went away is no error: there is nobody to tell. */
  write(text: string): void {
    let rest = Buffer.from(text);
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.fd, rest));
      } catch (error) {
        const code = systemErrorCode(error);
        if (code === "EPIPE" || code === "EBADF") return;
        if (code !== "EAGAIN") throw error;
        // Somebody else made the descriptor non-blocking. Wait a little.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
      }
    }
  }

  line(text = ""): void {
    this.write(`${text}\n`);
  }

  style(style: Style, text: string): string {
    return this.#hasColor ? styleText(style, text, { validateStream: false }) : text;
  }
}

export const stdout = new Terminal(1);
export const stderr = new Terminal(2);

/** Names come from modules, which may be anybody's: what would steer a terminal is shown as its number. Line feed and tab stay. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, (found) => {
    return `\\u{${found.codePointAt(0)?.toString(16)}}`;
  });
}

/** As `printable`, for a name that stands within a line. */
export function printableName(text: string): string {
  return printable(text).replace(/\n/g, "\\n").replace(/\t/g, "\\t");
}

/** Whether the terminal shows block characters (POSIX locale variables). */
export function hasUnicode(environment: Readonly<Record<string, string | undefined>> = process.env): boolean {
  const locale = environment["LC_ALL"] || environment["LC_CTYPE"] || environment["LANG"] || "";
  return /utf-?8/i.test(locale);
}

/** Columns of text, left-justified but for those in `right`. */
export function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

/** `1.5 KiB`, `64 MiB`. */
export function spellBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
