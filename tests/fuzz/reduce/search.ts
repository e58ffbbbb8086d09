/** The loop of every reduction: try smaller candidates, many to an image, keep the first that still differs, go on from there. */
import type { Difference } from "../harness/compare.ts";
import { COMPILING, type JudgeOptions, judge } from "../harness/judge.ts";
import type { Unit } from "../harness/unit.ts";

export interface Candidate<T> {
  readonly item: T;
  readonly unit: Unit;
}

export interface Found<T> extends Candidate<T> {
  readonly difference: Difference;
}

const MOST_PER_IMAGE = 16;

/** A difference while compiling and one while running are not the same finding. */
const isSameKind = (a: Difference, b: Difference): boolean =>
  (a.what === COMPILING) === (b.what === COMPILING);

export class Search {
  readonly options: JudgeOptions;
  readonly onProgress: (text: string) => void;
  /** In performance.now() time. */
  #deadline: number;
  /** Many changes come to the same modules. */
  readonly #tried = new Set<string>();
  /** Few to an image while changes succeed, as the rest of the image is then for nothing; many while they fail. */
  #perImage = 2;

  constructor(options: JudgeOptions, onProgress: (text: string) => void) {
    this.options = options;
    this.onProgress = onProgress;
    this.#deadline = Number.POSITIVE_INFINITY;
  }

  endIn(milliseconds: number): void {
    this.#deadline = performance.now() + milliseconds;
  }

  get isOver(): boolean {
    return performance.now() > this.#deadline;
  }

  /** @returns the first candidate that still differs, with its difference */
  async first<T>(wanted: Difference, candidates: Iterable<Candidate<T>>): Promise<Found<T> | undefined> {
    let batch: Candidate<T>[] = [];
    for (const candidate of candidates) {
      if (this.isOver) return undefined;
      if (this.#isTried(candidate.unit)) continue;
      batch.push(candidate);
      if (batch.length < this.#perImage) continue;
      const found = await this.#try(wanted, batch);
      if (found) return found;
      batch = [];
    }
    return batch.length > 0 ? this.#try(wanted, batch) : undefined;
  }

  #isTried({ modules, calls }: Unit): boolean {
    const texts = modules.map(({ bytes }) => Buffer.from(bytes).toString("base64"));
    const key = [
      ...texts,
      ...calls.map((call) => `${call.module} ${call.export} ${call.args.join(" ")}`),
    ].join("\n");
    const size = this.#tried.size;
    return this.#tried.add(key).size === size;
  }

  async #try<T>(wanted: Difference, batch: readonly Candidate<T>[]): Promise<Found<T> | undefined> {
    const verdicts = await judge(
      batch.map(({ unit }) => unit),
      this.options,
    );
    for (const [i, verdict] of verdicts.entries()) {
      const candidate = batch[i];
      if (!candidate || !verdict.difference || !isSameKind(wanted, verdict.difference)) continue;
      this.#perImage = Math.max(2, this.#perImage >> 1);
      return { ...candidate, difference: verdict.difference };
    }
    this.#perImage = Math.min(MOST_PER_IMAGE, this.#perImage * 2);
    return undefined;
  }
}
