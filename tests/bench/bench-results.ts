/** Results that nobody measured, with the noise of real ones. */
import type { Machine } from "../../bench/machine.ts";
import { type Report, reportOf } from "../../bench/report.ts";
import type { Samples } from "../../bench/scenario.ts";

/** Around 1, skewed to above as times are. Deterministic (mulberry32, from whose uniform numbers normal ones are made after Box and Muller). */
export function numbers(seed: number): () => number {
  let state = seed * 7919;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => {
    const normal = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return Math.exp(0.15 * normal);
  };
}

interface Kind {
  /** Factors. */
  readonly own?: number;
  readonly floor?: number;
  /** How much slower everything is in the middle third. */
  readonly busy?: number;
  readonly count?: number;
}

/** A scenario's samples, 600 and 500 us but for the factors; samples of one batch are alike, as real ones are. */
export function figure(seed: number, { own = 1, floor = 1, busy = 1, count = 200 }: Kind): Samples {
  const random = numbers(seed);
  const batch = 10;
  const samples: number[] = [];
  const floors: number[] = [];
  let moment = 1;
  for (let i = 0; i < count; i++) {
    if (i % batch === 0) moment = random() * (i >= count / 3 && i < (2 * count) / 3 ? busy : 1);
    samples.push(600 * own * moment * random());
    floors.push(500 * floor * moment * random());
  }
  return { unit: "us", samples, floor: floors };
}

export function report(scenarios: Readonly<Record<string, Samples>>, machine: Partial<Machine> = {}): Report {
  return {
    machine: {
      ...{ date: "2000-01-01T00:00:00.000Z", cpu: "a processor", cores: 2, memoryGiB: 4, kernel: "6.0" },
      ...{ node: "v20", v8: "11", compiler: "cc", kvm: "none", mitigations: {}, hugePages: "" },
      ...{ barecell: "0", commit: "0", load: 0, liveVms: 0 },
      ...machine,
    },
    quick: false,
    scenarios: Object.fromEntries(
      Object.entries(scenarios).map(([name, samples]) => [name, reportOf({ ...samples, details: {} })]),
    ),
  };
}
