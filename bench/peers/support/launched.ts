/** Peers that are commands: started and timed by a C program (bench/native/launcher.c), so that nothing of Node's is in their times. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Prepared, type Program, type Sample, type Setting, Stopped } from "../peer.ts";
import { oneLine } from "./error-text.ts";

export interface Commands {
  /** `{id}`: a name new for each start. `{mode}`: `run`, or `hold` to stay after the answer. */
  readonly start: readonly string[];
  /** Ends one that took too long. Default: SIGKILL for the process that was started. */
  readonly stop?: readonly string[];
  /** Clears up after one that did not end by itself. */
  readonly after?: readonly string[];
  /** False where `{mode}` has no meaning: memory is not measured. */
  readonly canHold?: boolean;
  /** Runs the launcher itself, in changed surroundings. */
  readonly prefix?: readonly string[];
  /** What is started prints one number, and not what bench/native/main.c does. */
  readonly printsNumber?: boolean;
  /** What is started is a machine that boots: it takes its input when it has written this, and what it writes before is no answer. */
  readonly readyLine?: string;
}

/** What the launcher says of one start. */
interface Answer {
  readonly hasResult: boolean;
  readonly result: number;
  readonly readyUs: number;
  readonly resultUs: number;
  readonly endUs: number;
  readonly stopped: boolean;
  readonly stillRuns: boolean;
  readonly exit: number;
  readonly signal: number;
  readonly output: string;
  /** What it wrote instead of a result, the end of it; hexadecimal. */
  readonly said: string;
}

const STDERR_KEPT = 4000;
const LINES_SHOWN = 3;

/** The arguments of bench/native/main.c. */
export function programArguments(program: Program): string[] {
  return [String(program.n), String(program.input?.length ?? 0), "{mode}"];
}

export async function prepareLaunched(
  program: Program,
  setting: Setting,
  commands: Commands,
): Promise<Prepared> {
  if (setting.launcherPath === null) throw new Error("no C compiler was found");
  const launcher = new Launcher([
    ...(commands.prefix ?? []),
    setting.launcherPath,
    ...launcherArguments(program, setting, commands),
  ]);
  return {
    async request(limitMs = 0) {
      const answer = (await launcher.order(`run ${limitMs * 1000}`)) as unknown as Answer;
      return toSample(answer, program, launcher.takeErrors());
    },
    async loop(forMs) {
      const answer = await launcher.order(`loop ${forMs * 1000}`);
      if (answer["failed"]) throw new Error(`a start failed: ${launcher.takeErrors()}`);
      return { requests: Number(answer["requests"]), elapsedUs: Number(answer["elapsedUs"]) };
    },
    ...(commands.canHold === false
      ? {}
      : {
          async hold(count: number) {
            const { held } = await launcher.order(`hold ${count}`);
            if (held !== count) throw new Error(`only ${String(held)} of ${count} could be kept`);
            return async () => {
              await launcher.order("release");
            };
          },
        }),
    dispose: () => launcher.end(),
  };
}

function launcherArguments(program: Program, setting: Setting, commands: Commands): string[] {
  const words: string[] = [];
  if (program.input !== null) {
    const path = join(setting.scratch, `${program.name}.${process.pid}.input`);
    writeFileSync(path, program.input);
    words.push("--input", path);
  }
  if (commands.printsNumber) words.push("--number");
  if (commands.readyLine !== undefined) words.push("--ready", commands.readyLine);
  if (commands.stop) words.push("--stop", ...commands.stop, ";");
  if (commands.after) words.push("--after", ...commands.after, ";");
  return [...words, "--", ...commands.start];
}

function toSample(answer: Answer, program: Program, errors: string): Sample {
  if (answer.stopped) {
    if (answer.stillRuns) throw new Error("it was told to stop, and did not");
    throw new Stopped("stopped by the launcher");
  }
  if (!answer.hasResult) {
    const how = answer.signal > 0 ? `killed by signal ${answer.signal}` : `exit status ${answer.exit}`;
    throw new Error([how, errors, saidText(answer)].filter((text) => text !== "").join(": "));
  }
  return {
    // A clock of its own behind the wall would show nonsense.
    readyUs: answer.readyUs > 0 && answer.readyUs < answer.resultUs ? answer.readyUs : null,
    resultUs: answer.resultUs,
    endUs: answer.endUs,
    result: answer.result,
    output: program.input === null ? null : Uint8Array.from(Buffer.from(answer.output, "hex")),
  };
}

/** The last lines, in one. They may have been cut anywhere, and are shown on a terminal. */
function saidText({ said }: Answer): string {
  const text = Buffer.from(said, "hex")
    .toString("latin1")
    .replace(/[^\x20-\x7e\n]+/g, " ");
  return oneLine(text.trim().split("\n").slice(-LINES_SHOWN).join("\n"));
}

class Launcher {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  readonly #ended: Promise<void>;
  #text = "";
  #errors = "";

  constructor([path = "", ...words]: readonly string[]) {
    const child = spawn(path, words, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    child.stdout.setEncoding("utf8").on("data", (text: string) => this.#take(text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-STDERR_KEPT);
    });
    child.stdin.on("error", () => {
      // It ended; the orders that wait are told by "close".
    });
    this.#ended = new Promise((resolve) => {
      child.on("error", (error) => {
        this.#fail(error);
        resolve();
      });
      child.on("close", (status, signal) => {
        this.#fail(
          new Error(`the launcher ended (${signal ?? `status ${String(status)}`}): ${this.takeErrors()}`),
        );
        resolve();
      });
    });
  }

  async order(line: string): Promise<Record<string, unknown>> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null)
      throw new Error("the launcher has ended");
    const answer = await new Promise<string>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${line}\n`);
    });
    return JSON.parse(answer) as Record<string, unknown>;
  }

  /** What the commands wrote to standard error since the last time, in one line. */
  takeErrors(): string {
    const text = this.#errors.trim().replace(/\s*\n\s*/g, "; ");
    this.#errors = "";
    return text;
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  #take(text: string): void {
    const lines = (this.#text + text).split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) this.#waiting.shift()?.resolve(line);
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
