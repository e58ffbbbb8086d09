/** `npm run fuzz:diff`: random modules in V8 and in a VM, until they differ; see README.md. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { addSummary, type BatchSummary, emptySummary } from "./harness/batch.ts";
import type { Answer, Assignment } from "./messages.ts";
import { type FuzzOptions, parseOptions, USAGE, UsageError } from "./options.ts";

type Ending = "agreed" | "differed" | "broken";

class Run {
  readonly #options: FuzzOptions;
  readonly #begin = performance.now();
  readonly #total: BatchSummary = emptySummary();
  readonly #workers = new Set<ChildProcess>();
  #nextSeed: number;
  #ending: Ending = "agreed";

  constructor(options: FuzzOptions) {
    this.#options = options;
    this.#nextSeed = options.seed;
  }

  async all(): Promise<Ending> {
    const { seed, jobs } = this.#options;
    process.stdout.write(`first seed ${seed}\n`);
    await Promise.all(Array.from({ length: jobs }, () => this.#runWorker()));
    process.stdout.write(`${this.#status()}\n`);
    return this.#ending;
  }

  /** One process, and another after it if it was taken down. */
  #runWorker(): Promise<void> {
    return new Promise((resolve) => {
      const worker = fork(fileURLToPath(new URL("./worker.js", import.meta.url)), {
        execArgv: ["--enable-source-maps"],
      });
      this.#workers.add(worker);
      let assignment = this.#assign(worker);
      worker.on("message", (answer: Answer) => {
        if (answer.kind === "progress") {
          process.stdout.write(`  ${answer.text}\n`);
          return;
        }
        this.#take(answer);
        assignment = this.#assign(worker);
      });
      worker.on("exit", (code, signal) => {
        this.#workers.delete(worker);
        if (assignment && this.#ending === "agreed") {
          this.#finish(
            "differed",
            `DIFFERENCE: the process ended (${signal ?? `status ${code}`}) with the seeds from ${assignment.first}, ${assignment.count} of them`,
          );
        }
        resolve();
      });
    });
  }

  #assign(worker: ChildProcess): Assignment | undefined {
    const { options, first } = { options: this.#options, first: this.#nextSeed };
    const left = options.seed + options.count - first;
    const isLate = performance.now() - this.#begin > options.minutes * 60_000;
    if (left <= 0 || isLate || this.#ending !== "agreed") {
      worker.disconnect();
      return undefined;
    }
    const count = Math.min(options.batch, left);
    this.#nextSeed += count;
    const assignment = { first, count, options };
    worker.send(assignment);
    return assignment;
  }

  #take(answer: Exclude<Answer, { kind: "progress" }>): void {
    if (answer.kind === "broken") {
      this.#finish("broken", `the fuzzer itself failed: ${answer.message}`);
      return;
    }
    addSummary(this.#total, answer.summary);
    process.stdout.write(`${this.#status()}\n`);
    if (answer.kind === "found") this.#finish("differed", answer.report);
  }

  /** The first finding ends the run. */
  #finish(ending: Ending, report: string): void {
    if (this.#ending === "agreed") this.#ending = ending;
    process.stdout.write(`${report}\n`);
  }

  #status(): string {
    const { units, modules, calls, traps, incomparable } = this.#total;
    const minutes = (performance.now() - this.#begin) / 60_000;
    return `${units} units (${modules} modules), ${calls} calls, ${traps} of them trapped; ${incomparable} units without a verdict (stack exhausted); ${(modules / minutes).toFixed(0)} modules/min`;
  }
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === "help") {
    process.stdout.write(USAGE);
  } else {
    const ending = await new Run(options).all();
    process.exitCode = { agreed: 0, differed: 1, broken: 3 }[ending];
  }
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  if (!isUsage) throw error;
  process.stderr.write(`fuzz:diff: ${error.message}\n${USAGE}`);
  process.exitCode = 2;
}
