/** What a scenario is: one thing measured, beside the floor that does the same without barecell. */

export interface Settings {
  /** A look that everything works, not a measurement. */
  readonly quick: boolean;
  /** How many samples, where the command line says so. */
  readonly runs: number | undefined;
  /** The compiled floor program. */
  readonly floor: string;
  /** A folder for the scenario's files, removed afterwards. */
  readonly scratch: string;
  /** Says what is going on, for a person who waits. */
  readonly progress: (text: string) => void;
}

export interface Samples {
  readonly unit: string;
  /** In the order they were taken. Less is better, whatever the unit. */
  readonly samples: readonly number[];
  /** The floor's, in the same unit and taken at the same times; null if nothing does the same without barecell. */
  readonly floor: readonly number[] | null;
}

export interface Measurement extends Samples {
  /** Figures beside the main one, by name: with rows of their own in the table, and compared like it. */
  readonly parts?: Readonly<Record<string, Samples>>;
  /** All else: what was measured apart, how it was warmed up, raw samples. Plain JSON. */
  readonly details: Readonly<Record<string, unknown>>;
  /** Lines for people, below the table. */
  readonly notes?: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** One line: from when to when. */
  readonly title: string;
  measure(settings: Settings): Promise<Measurement>;
}

/** Samples to take: as asked for, else a few for a quick look, else enough for a p99. */
export function sampleCount(settings: Settings, usual: number, quick: number): number {
  return settings.runs ?? (settings.quick ? quick : usual);
}

/**
 * Takes samples of several sides in turns, a small batch of each, so that a busy moment of the machine hits all alike.
 * @param sides each takes `count` samples and keeps them itself
 */
export async function interleave(
  total: number,
  batch: number,
  sides: readonly ((count: number) => void | Promise<void>)[],
  progress: (done: number) => void = () => {},
): Promise<void> {
  for (let done = 0; done < total; done += batch) {
    const count = Math.min(batch, total - done);
    for (const side of sides) await side(count);
    progress(done + count);
  }
}

/** Microseconds, monotonic. */
export const nowUs = (): number => performance.now() * 1000;
