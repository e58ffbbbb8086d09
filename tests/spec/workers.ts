/** Runs files in child processes, several at a time. One that dies or does not come to an end is a failure of its file. */
import { fork } from "node:child_process";
import type { SpecFile } from "./files.ts";
import type { FileResult } from "./report.ts";
import type { Entry } from "./run-script.ts";
import type { WorkerMessage, WorkerTask } from "./worker.ts";

export interface WorkersOptions {
  readonly jobs: number;
  /** For one file, milliseconds. */
  readonly deadlineMs: number;
  readonly modulesPerImage: number;
  readonly strict: boolean;
  readonly targetCpu: WorkerTask["targetCpu"];
  /** The compiled worker.ts. */
  readonly worker: string;
  /** Called in the order of the files. */
  readonly onResult: (result: FileResult) => void;
  readonly onProgress: (file: string, line: number, what: string) => void;
}

export async function runFiles(files: readonly SpecFile[], options: WorkersOptions): Promise<FileResult[]> {
  const results: (FileResult | undefined)[] = [];
  let next = 0;
  let reported = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < files.length; index = next++) {
      results[index] = await runFile(files[index] as SpecFile, options);
      for (let result = results[reported]; result; result = results[reported]) {
        reported++;
        options.onResult(result);
      }
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return results.filter((result) => result !== undefined);
}

/** From the request to end until the end is made, milliseconds. */
const GRACE_MS = 3000;
/** Of what a worker wrote to its standard error, the end is kept. */
const KEPT_CHARACTERS = 2000;

function runFile(file: SpecFile, options: WorkersOptions): Promise<FileResult> {
  const { modulesPerImage, strict, targetCpu } = options;
  const task: WorkerTask = { file, modulesPerImage, strict, targetCpu };
  const started = performance.now();
  const entries: Entry[] = [];
  let at = { line: 0, what: "starting" };
  let done = false;
  let late = false;
  let stderr = "";
  return new Promise((resolve) => {
    const child = fork(options.worker, [JSON.stringify(task)], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: [],
    });
    const deadline = setTimeout(() => {
      late = true;
      child.kill("SIGTERM");
      setTimeout(() => child.kill("SIGKILL"), GRACE_MS).unref();
    }, options.deadlineMs);
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr = (stderr + chunk.toString("utf8")).slice(-KEPT_CHARACTERS);
    });
    child.on("message", (message: WorkerMessage) => {
      if (message.kind === "done") done = true;
      else {
        at = message.kind === "entry" ? { line: message.entry.line, what: message.entry.kind } : message;
        options.onProgress(file.name, at.line, at.what);
      }
      if (message.kind === "entry") entries.push(message.entry);
    });
    const finish = (how: string): void => {
      clearTimeout(deadline);
      if (!done) {
        const what = late ? `did not end in ${options.deadlineMs / 1000} s` : how;
        const words = stderr.trim().split("\n").at(-1) ?? "";
        const reason = `the worker ${what}, after line ${at.line} (${at.what})${words === "" ? "" : `: ${words}`}`;
        entries.push({ line: at.line, kind: "script", outcome: "failed", reason });
      }
      const seconds = Math.round(performance.now() - started) / 1000;
      resolve({ file: file.name, seconds, entries });
    };
    child.on("error", (error) => finish(`could not be started: ${error.message}`));
    // "close" comes after all messages and output, "exit" need not.
    child.on("close", (status, signal) =>
      finish(signal ? `was ended by ${signal}` : `exited with status ${status}`),
    );
  });
}
