/** VMs made ahead: a call in a VM that a pool has ready. Cleaning comes after the answer: no part of the latency, but of what a row of calls takes. */
import { setImmediate as turn } from "node:timers/promises";
import { Pool } from "barecell";
import { runFloor } from "../floor.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { addSubject, check } from "../subject.ts";

const BATCH = 100;
const WARM_UP = 10;
const READY = 2;

async function measure(settings: Settings): Promise<Measurement> {
  const { title, image, path, call, floorCall } = await addSubject(settings);
  const total = sampleCount(settings, 2000, BATCH);
  await using pool = new Pool(image, { min: READY, max: READY });
  await pool.ready();
  const allClean = async (): Promise<void> => {
    while (pool.metrics.ready < READY) await turn();
  };
  const sync: number[] = [];
  const async: number[] = [];
  const row: number[] = [];
  const floorCalls: number[] = [];
  const floorRow: number[] = [];
  const callSync = (): void => check(call, pool.callSync(call.name, ...call.args));
  await interleave(
    total,
    BATCH,
    [
      async (count) => {
        for (let i = -WARM_UP; i < count; i++) {
          await allClean();
          const begin = nowUs();
          callSync();
          if (i >= 0) sync.push(nowUs() - begin);
        }
      },
      async (count) => {
        for (let i = -WARM_UP; i < count; i++) {
          await allClean();
          const begin = nowUs();
          check(call, await pool.call(call.name, ...call.args));
          if (i >= 0) async.push(nowUs() - begin);
        }
      },
      async (count) => {
        await allClean();
        // No turn of the event loop between them, so that whoever calls has to clean.
        for (let i = -WARM_UP; i < count; i++) {
          const begin = nowUs();
          callSync();
          if (i >= 0) row.push(nowUs() - begin);
        }
      },
      async (count) => {
        const words = ["--boot", "direct", "--spare", ...floorCall, "--reset", String(count)];
        const report = await runFloor(settings.floor, path, words);
        check(call, Number(report.slot));
        floorCalls.push(...(report.samples["call after reset"] ?? []));
        floorRow.push(...(report.samples["reset and call"] ?? []));
      },
    ],
    (done) => settings.progress(`${done} of ${total}`),
  );
  return {
    unit: "us",
    samples: sync,
    floor: floorCalls,
    parts: {
      "await call()": { unit: "us", samples: async, floor: floorCalls },
      "in a row, cleaning included": { unit: "us", samples: row, floor: floorRow },
    },
    details: {
      image: title,
      warmUpPerBatch: WARM_UP,
      batch: BATCH,
      readyVms: READY,
      pool: { ...pool.metrics },
    },
    notes: [
      "a VM was there already, and is cleaned after the answer: latency leaves both out; calls in a row, and throughput, count the cleaning",
    ],
  };
}

export const pooled: Scenario = {
  name: "pooled",
  title:
    "VM shells created ahead: a pool has VMs ready -> result of pool.callSync(); making and cleaning VMs is not in it",
  measure,
};
