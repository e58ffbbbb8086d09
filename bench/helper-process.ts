/** A process beside the scenario's own that takes orders, a line each, and answers each with a line. It ends when its input does. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

export class HelperProcess {
  readonly #process: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;
  readonly #name: string;

  constructor(command: string, args: readonly string[]) {
    this.#name = command;
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#process = child;
    this.#input = child.stdin;
    // A process that has ended says so by its missing answer.
    this.#input.on("error", () => {});
    child.on("error", () => {});
    this.#lines = createInterface(child.stdout as Readable)[Symbol.asyncIterator]();
  }

  /** A script of this folder in a Node process of its own; only on these processors if any are named. */
  static ofScript(
    script: string,
    args: readonly string[],
    processors: readonly number[] = [],
  ): HelperProcess {
    const path = fileURLToPath(new URL(`./${script}`, import.meta.url));
    const [command = "", ...words] = onProcessors(processors, [
      process.execPath,
      "--expose-gc",
      path,
      ...args,
    ]);
    return new HelperProcess(command, words);
  }

  get pid(): number {
    if (this.#process.pid === undefined) throw new Error(`${this.#name} could not be started`);
    return this.#process.pid;
  }

  /** @throws if the process ended instead of answering; it has said why on the standard error output */
  async ask(order: string): Promise<string> {
    this.#input.write(`${order}\n`);
    const answer = await this.#lines.next();
    if (answer.done) throw new Error(`${this.#name} ended without an answer to '${order}'`);
    return answer.value;
  }

  async end(): Promise<void> {
    if (this.#process.pid === undefined) return;
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#input.end();
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

/** A command line that runs on these processors only; as it is if none are named. */
export function onProcessors(processors: readonly number[], command: readonly string[]): string[] {
  return processors.length === 0 ? [...command] : ["taskset", "-c", processors.join(","), ...command];
}
