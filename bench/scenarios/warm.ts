/** A call in a VM as if new, which served another call before: reset and call together, since neither is of use alone. */
import { MicroVM } from "barecell";
import { runFloor } from "../floor.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { percentile, summarize } from "../statistics.ts";
import { addSubject, type Call, check } from "../subject.ts";

const BATCH = 100;
/** Of each batch: after the other side's turn the processor's caches belong to somebody else. */
const WARM_UP = 10;

/** Microseconds. */
interface Warm {
  readonly reset: number;
  readonly call: number;
}

async function measure(
  settings: Settings,
  once: (vm: MicroVM, call: Call) => Promise<Warm> | Warm,
): Promise<Measurement> {
  const { title, image, path, call, floorCall } = await addSubject(settings);
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
          const pending = once(vm, call);
          // No turn of the event loop where there is nothing to wait for.
          const warm = pending instanceof Promise ? await pending : pending;
          if (i >= 0) own.push(warm);
        }
      },
      async (count) => {
        const options = ["--boot", "direct", "--spare", ...floorCall, "--reset", String(count)];
        const report = await runFloor(settings.floor, path, options);
        check(call, Number(report.slot));
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
      image: title,
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

function finish(call: Call, result: unknown, begin: number, reset: number): Warm {
  const called = nowUs();
  check(call, result);
  return { reset: reset - begin, call: called - reset };
}

export const warmSync: Scenario = {
  name: "warm-sync",
  title: "a VM that served a call -> resetSync() -> result of callSync()",
  measure: (settings) =>
    measure(settings, (vm, call) => {
      const begin = nowUs();
      vm.resetSync();
      const reset = nowUs();
      return finish(call, vm.callSync(call.name, ...call.args), begin, reset);
    }),
};

export const warmAsync: Scenario = {
  name: "warm-async",
  title: "a VM that served a call -> await reset() -> result of await call()",
  measure: (settings) =>
    measure(settings, async (vm, call) => {
      const begin = nowUs();
      await vm.reset();
      const reset = nowUs();
      return finish(call, await vm.call(call.name, ...call.args), begin, reset);
    }),
};
