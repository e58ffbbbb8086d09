/** What the bare system calls cost on this machine: the C program's own figures, against which all others are held. */
import { runFloor } from "../floor.ts";
import {
  interleave,
  type Measurement,
  type Samples,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { percentile } from "../statistics.ts";
import { addSubject, check } from "../subject.ts";

const BATCH = 20;
/** A reset takes a twentieth of a boot. */
const RESETS_PER_BOOT = 10;

class Collected {
  readonly #series = new Map<string, number[]>();

  add(prefix: string, samples: Readonly<Record<string, readonly number[]>> = {}): void {
    for (const [name, values] of Object.entries(samples)) {
      const list = this.#series.get(prefix + name);
      if (list) list.push(...values);
      else this.#series.set(prefix + name, [...values]);
    }
  }

  get(name: string): Samples {
    const samples = this.#series.get(name);
    if (!samples) throw new Error(`the floor program did not measure '${name}'`);
    return { unit: "us", samples, floor: null };
  }

  medians(prefix: string): Record<string, number> {
    const found = [...this.#series].filter(([name]) => name.startsWith(prefix));
    return Object.fromEntries(
      found.map(([name, samples]) => [name.slice(prefix.length), percentile(samples, 0.5)]),
    );
  }
}

async function measure(settings: Settings): Promise<Measurement> {
  const { title, path, call, floorCall } = await addSubject(settings);
  const total = sampleCount(settings, 400, BATCH);
  const collected = new Collected();
  const run = async (boot: "staged" | "direct", options: readonly string[], spare = true): Promise<void> => {
    const words = ["--boot", boot, "--steps", ...(spare ? ["--spare"] : []), ...floorCall, ...options];
    const report = await runFloor(settings.floor, path, words);
    check(call, Number(report.slot));
    const side = spare ? boot : `${boot}, no other VM`;
    collected.add(`${side}: `, report.samples);
    collected.add(`step of ${side}: `, report.steps);
  };
  await interleave(
    total,
    BATCH,
    [
      (count) => run("direct", ["--runs", String(count)]),
      (count) => run("staged", ["--runs", String(count)]),
      (count) => run("direct", ["--runs", String(count)], false),
      (count) => run("direct", ["--reset", String(count * RESETS_PER_BOOT)]),
    ],
    (done) => settings.progress(`${done} of ${total}`),
  );
  return {
    ...collected.get("direct: boot to result"),
    parts: {
      "staged boot": collected.get("staged: boot to result"),
      "no other VM in the process": collected.get("direct, no other VM: boot to result"),
      destroy: collected.get("direct: close"),
      run: collected.get("direct: call again"),
      "reset and run": collected.get("direct: reset and call"),
    },
    details: {
      image: title,
      batch: BATCH,
      stepsP50: {
        staged: collected.medians("step of staged: "),
        direct: collected.medians("step of direct: "),
      },
    },
    notes: (["staged", "direct"] as const).map((boot) => {
      const steps = Object.entries(collected.medians(`step of ${boot}: `));
      return `${boot}, by step: ${steps.map(([name, us]) => `${name} ${us.toFixed(0)}`).join(", ")} us`;
    }),
  };
}

export const floor: Scenario = {
  name: "floor",
  title:
    "the C program alone: no VM yet -> boot in ring 3 -> result; staged, run, reset and run, destroy apart",
  measure,
};
