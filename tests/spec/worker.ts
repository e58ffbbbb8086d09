/** Runs one file in a process of its own: what a file does to its process is then nobody else's trouble. Started by workers.ts. */
import { readFileSync } from "node:fs";
import { type BarecellSettings, createBarecell } from "./barecell.ts";
import { describeError } from "./engine.ts";
import type { SpecFile } from "./files.ts";
import { runModule } from "./harmless.ts";
import { type Entry, runScript } from "./run-script.ts";

export interface WorkerTask {
  readonly file: SpecFile;
  readonly modulesPerImage: number;
  readonly strict: boolean;
  readonly targetCpu: BarecellSettings["targetCpu"];
}

/** Entries are sent as they come, so that those before a crash are not lost. */
export type WorkerMessage =
  | { readonly kind: "entry"; readonly entry: Entry }
  /** What takes long and begins now. */
  | { readonly kind: "progress"; readonly line: number; readonly what: string }
  | { readonly kind: "done" };

const send = (message: WorkerMessage): void => {
  process.send?.(message);
};

// Compilers run in process groups of their own, and are ended when this process exits in order.
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => process.exit(1));
process.on("disconnect", () => process.exit(1));

const { file, modulesPerImage, strict, targetCpu } = JSON.parse(process.argv[2] ?? "") as WorkerTask;
const barecell = createBarecell({ targetCpu });
try {
  const bytes = readFileSync(file.path);
  if (file.kind === "module") {
    for (const entry of await runModule(bytes, barecell)) send({ kind: "entry", entry });
  } else {
    await runScript(bytes, barecell, {
      modulesPerImage,
      strict,
      onEntry: (entry) => send({ kind: "entry", entry }),
      onProgress: (line, what) => send({ kind: "progress", line, what }),
    });
  }
} catch (error) {
  const reason = describeError(error);
  send({ kind: "entry", entry: { line: 0, kind: "script", outcome: "failed", reason } });
}
// Not before all is written: what is still in the queue would be lost.
process.send?.({ kind: "done" } satisfies WorkerMessage, () => process.exit(0));
