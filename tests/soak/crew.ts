/** The worker threads of a soak run. Some are terminated in the middle of their work, and others take their places. */
import { Worker } from "node:worker_threads";
import type { Assignment, Summary } from "./messages.ts";
import type { Random } from "./random.ts";

const SCRIPT = new URL("./worker.js", import.meta.url);
/** Longer than any round: then something hangs. */
const HANG_MS = 900_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** An assignment's end: its summary, or undefined if the worker was terminated. */
type RoundResult = Summary | undefined;

class Member {
  readonly #worker = new Worker(SCRIPT);
  /** Its modules are loaded: a worker that is terminated before keeps the files open that it is reading, a fault of Node's. */
  readonly #ready = new Promise<void>((resolve, reject) => {
    this.#worker.once("message", () => resolve()).once("error", reject);
  });

  /** @param terminateAfterMs the worker is terminated then, if it is not done before */
  async do(assignment: Assignment, terminateAfterMs: number | undefined): Promise<RoundResult> {
    let hang: NodeJS.Timeout | undefined;
    let doomed: NodeJS.Timeout | undefined;
    let isKilled = false;
    await this.#ready;
    try {
      return await new Promise<RoundResult>((resolve, reject) => {
        const gone = (status: number): void => {
          if (isKilled) resolve(undefined);
          else reject(new Error(`a worker ended by itself, with status ${status}`));
        };
        this.#worker.removeAllListeners("message").once("message", resolve);
        this.#worker.removeAllListeners("error").once("error", reject);
        this.#worker.removeAllListeners("exit").once("exit", gone);
        hang = setTimeout(() => reject(new Error(`a worker was not done after ${HANG_MS} ms`)), HANG_MS);
        if (terminateAfterMs !== undefined) {
          doomed = setTimeout(() => {
            isKilled = true;
            void this.#worker.terminate();
          }, terminateAfterMs);
        }
        this.#worker.postMessage(assignment);
      });
    } finally {
      clearTimeout(hang);
      clearTimeout(doomed);
    }
  }

  async end(): Promise<void> {
    await this.#ready;
    this.#worker.removeAllListeners();
    await this.#worker.terminate();
  }
}

export class Crew {
  readonly #members: Member[];
  /** Workers terminated so far. */
  terminated = 0;

  constructor(count: number) {
    this.#members = Array.from({ length: count }, () => new Member());
  }

  /** One assignment for each. @returns the summaries of those that came to their end */
  async round(assignments: readonly Assignment[], random: Random): Promise<Summary[]> {
    const results = await Promise.all(
      assignments.map(async (assignment, place) => {
        const member = this.#members[place];
        if (!member) throw new Error("more assignments than workers");
        const terminateAfterMs = random.chance(0.1) ? 20 + random.below(1500) : undefined;
        const result = await member.do(assignment, terminateAfterMs);
        if (result === undefined) {
          this.terminated++;
          await member.end();
          this.#members[place] = new Member();
        }
        return result;
      }),
    );
    // Finalisers of what was collected run after the collection.
    globalThis.gc?.();
    await sleep(5);
    return results.filter((result) => result !== undefined);
  }

  async end(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.end()));
  }
}
