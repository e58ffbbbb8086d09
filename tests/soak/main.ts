/**
 * `npm run soak`: hostile and well-behaved guests at random, killed at random, on several threads; in rounds, and between two of them nothing may be left.
 * See README.md.
 */
import { Crew } from "./crew.ts";
import { GOOD_GUEST, Guests } from "./guests.ts";
import { type Assignment, addEnds } from "./messages.ts";
import { MAX_SEED, parseOptions, type SoakOptions, USAGE, UsageError } from "./options.ts";
import { Random } from "./random.ts";
import { ranges, rssOf, type SoakReport, toText } from "./report.ts";
import {
  growthComplaint,
  leftComplaints,
  type Resources,
  resources,
  type Sample,
  withSpare,
} from "./resources.ts";

/** Of each worker, in a round: some seconds. */
const RUNS_PER_ROUND = 400;
const HOSTILE_PER_ROUND = 60;
/** Of the images to choose from, so many are of the well-behaved guest. */
const GOOD_PER_ROUND = 20;
const MAX_FAILURES = 100;

class Soak {
  readonly #options: SoakOptions;
  readonly #begin = performance.now();
  readonly #guests = new Guests();
  readonly #random: Random;
  readonly #samples: Sample[] = [];
  readonly #ends: Record<string, number> = {};
  readonly #failures: string[] = [];
  #runs = 0;

  constructor(options: SoakOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async all(): Promise<SoakReport> {
    const before = resources();
    let most: Resources | undefined;
    const { threads, vms } = this.#options;
    const crew = new Crew(threads);
    try {
      while (!this.#isOver()) {
        for (const { runs, ends, failures } of await crew.round(this.#assignments(), this.#random)) {
          this.#runs += runs;
          addEnds(this.#ends, ends);
          this.#failures.push(...failures);
        }
        const now = resources();
        this.#samples.push({ runs: this.#runs, ...now });
        // Each worker has descriptors of Node's, which the first round shows, and at times an image that is not collected yet; and vCPU threads: one for
        // each VM at once, and some for those that are only just becoming idle.
        most ??= {
          ...now,
          vms: 1,
          vcpus: 1,
          descriptors: now.descriptors + 2 * threads,
          threads: now.threads + threads * vms,
        };
        this.#failures.push(...leftComplaints(most, now, `after ${this.#runs} runs`));
        this.#progress();
      }
    } catch (error) {
      this.#failures.push(error instanceof Error ? error.message : String(error));
    }
    await crew.end();
    globalThis.gc?.();
    this.#failures.push(...leftComplaints(withSpare(before), resources(), "at the end"));
    const growth = growthComplaint(this.#samples);
    if (growth !== undefined) this.#failures.push(growth);
    return this.#report(crew.terminated);
  }

  #isOver(): boolean {
    const minutes = (performance.now() - this.#begin) / 60_000;
    return (
      this.#runs >= this.#options.runs ||
      minutes >= this.#options.minutes ||
      this.#failures.length >= MAX_FAILURES
    );
  }

  #assignments(): Assignment[] {
    const { threads, vms, runs } = this.#options;
    const left = Math.ceil((runs - this.#runs) / threads);
    return Array.from({ length: threads }, () => ({
      seed: this.#random.below(MAX_SEED),
      runs: Math.min(RUNS_PER_ROUND, left),
      vms,
      guests: [
        ...this.#guests.choose(HOSTILE_PER_ROUND, this.#random),
        ...Array.from({ length: GOOD_PER_ROUND }, () => GOOD_GUEST),
      ],
    }));
  }

  /** One line that is written again and again, where somebody looks. */
  #progress(): void {
    if (!process.stderr.isTTY) return;
    const { rssBytes = 0, vms = 0, threads = 0, descriptors = 0 } = this.#samples.at(-1) ?? {};
    const rate = (this.#runs * 1000) / (performance.now() - this.#begin);
    process.stderr.write(
      `\r\x1b[K${this.#runs} runs, ${rate.toFixed(0)}/s, ${this.#failures.length} failures; ${(rssBytes / 2 ** 20).toFixed(0)} MiB, ${descriptors} descriptors, ${threads} threads, ${vms} VMs`,
    );
  }

  #report(workersTerminated: number): SoakReport {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    const seconds = (performance.now() - this.#begin) / 1000;
    return {
      seed: this.#options.seed,
      runs: this.#runs,
      seconds,
      runsPerSecond: this.#runs / seconds,
      guests: this.#guests.count,
      workersTerminated,
      ends: this.#ends,
      rss: rssOf(this.#samples),
      ...ranges(this.#samples),
      failures: this.#failures,
    };
  }
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === "help") {
    process.stdout.write(USAGE);
  } else {
    if (!options.json) process.stdout.write(`seed ${options.seed}\n`);
    const report = await new Soak(options).all();
    process.stdout.write(`${options.json ? JSON.stringify(report) : toText(report)}\n`);
    // A run that did nothing has shown nothing.
    process.exitCode = report.failures.length > 0 || report.runs === 0 ? 1 : 0;
  }
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  if (!isUsage) throw error;
  process.stderr.write(`soak: ${error.message}\n${USAGE}`);
  process.exitCode = 2;
}
