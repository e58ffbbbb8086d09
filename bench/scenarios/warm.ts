/** A call in a VM as if new, which served another call before: reset and call together, since neither is of use alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compile, type Image, MicroVM } from "barecell";
import { runFloor } from "../floor.ts";
import { inProject } from "../paths.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { percentile, summarize } from "../statistics.ts";

const EXPORT = "add";
const ARGUMENTS = [20, 22] as const;
const RESULT = 42;
const BATCH = 100;
/** Of each batch: after the other side's turn the processor's caches belong to somebody else. */
const WARM_UP = 10;

/** Microseconds. */
interface Warm {
  readonly reset: number;
  readonly call: number;
}

async function prepare(settings: Settings): Promise<{ image: Image; path: string; floorOptions: string[] }> {
  settings.progress("compiling");
  const image = await compile(readFileSync(inProject("examples", "add", "add.wasm")), { cache: false });
  const path = join(settings.scratch, "image.cell");
  await image.save(path);
  const index = image.exports.findIndex((entry) => entry.name === EXPORT);
  const floorOptions = ["--boot", "direct", "--spare", "--runs", "1"];
  floorOptions.push("--call", String(index), ...ARGUMENTS.map(String));
  return { image, path, floorOptions };
}

async function measure(
  settings: Settings,
  once: (vm: MicroVM) => Promise<Warm> | Warm,
): Promise<Measurement> {
  const { image, path, floorOptions } = await prepare(settings);
  const total = sampleCount(settings, 4000, 2 * BATCH);
  using vm = MicroVM.bootSync(image, { boot: "direct" });
  const own: Warm[] = [];
  const floor: number[] = [];
  await interleave(
    total,
    BATCH,
    [
      async (count) => {
        for (let i = -WARM_UP; i < count; i++) {
          const pending = once(vm);
          // No turn of the event loop where there is nothing to wait for.
          const warm = pending instanceof Promise ? await pending : pending;
          if (i >= 0) own.push(warm);
        }
      },
      async (count) => {
        const options = [...floorOptions, "--reset", String(count)];
        const report = await runFloor(settings.floor, path, options);
        if (report.slot !== String(RESULT)) throw new Error(`the floor's call returned ${report.slot}`);
        floor.push(...(report.samples["reset and call"] ?? []));
      },
    ],
    (done) => settings.progress(`${done} of ${total}`),
  );
  const resets = own.map(({ reset }) => reset);
  const calls = own.map(({ call }) => call);
  return {
    unit: "us",
    samples: own.map(({ reset, call }) => reset + call),
    floor,
    details: {
      image: "examples/add/add.wasm",
      warmUpPerBatch: WARM_UP,
      batch: BATCH,
      reset: { ...summarize(resets), samples: resets },
      call: { ...summarize(calls), samples: calls },
    },
    notes: [
      `of it reset p50 ${percentile(resets, 0.5).toFixed(1)} us, call p50 ${percentile(calls, 0.5).toFixed(1)} us`,
    ],
  };
}

function checked(result: unknown, begin: number, reset: number): Warm {
  const called = nowUs();
  if (result !== RESULT) throw new Error(`the call returned ${String(result)}`);
  return { reset: reset - begin, call: called - reset };
}

export const warmSync: Scenario = {
  name: "warm-sync",
  title: "a VM that served a call -> resetSync() -> result of callSync()",
  measure: (settings) =>
    measure(settings, (vm) => {
      const begin = nowUs();
      vm.resetSync();
      const reset = nowUs();
      return checked(vm.callSync(EXPORT, ...ARGUMENTS), begin, reset);
    }),
};

export const warmAsync: Scenario = {
  name: "warm-async",
  title: "a VM that served a call -> await reset() -> result of await call()",
  measure: (settings) =>
    measure(settings, async (vm) => {
      const begin = nowUs();
      await vm.reset();
      const reset = nowUs();
      return checked(await vm.call(EXPORT, ...ARGUMENTS), begin, reset);
    }),
};
