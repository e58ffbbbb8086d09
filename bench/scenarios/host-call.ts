/** One host call: out of ring 3, to a synchronous function in TypeScript, and back in; besides, calls that the addon answers itself. */
import { join } from "node:path";
import { compile, type Image, MicroVM } from "barecell";
import wabtInit from "wabt";
import { runFloor } from "../floor.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { summarize } from "../statistics.ts";

/** An import that nobody grants, answered with zeros: the mechanism without any work behind it. */
const PLAIN = '(import "host" "nothing" (func $call))';
const PLAIN_CALL = "(call $call)";
/** A function in TypeScript with arguments and a result, as users write them. */
const SCRIPT = '(import "env" "add" (func $call (param i32 i32) (result i32)))';
const SCRIPT_CALL = "(drop (call $call (i32.const 2) (local.get $count)))";
/** The WASI function that does least. */
const WASI = '(import "wasi_snapshot_preview1" "sched_yield" (func $call (result i32)))';
const WASI_CALL = "(drop (call $call))";

const loop = (imported: string, call: string): string => `(module ${imported}
  (memory (export "memory") 1)
  (func (export "run") (param $count i32)
    (loop $again
      ${call}
      (br_if $again (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))))`;

const BATCH = 5;

async function measure(settings: Settings): Promise<Measurement> {
  settings.progress("compiling");
  const wabt = await wabtInit();
  const build = (imported: string, call: string): Promise<Image> =>
    compile(wabt.parseWat("loop.wat", loop(imported, call)).toBinary({}).buffer, { cache: false });
  const plainImage = await build(PLAIN, PLAIN_CALL);
  const imagePath = join(settings.scratch, "image.cell");
  await plainImage.save(imagePath);
  const calls = settings.quick ? 200 : 2000;
  const total = sampleCount(settings, 60, 2 * BATCH);

  using plainVm = MicroVM.bootSync(plainImage, { unknownImports: "default" });
  using scriptVm = MicroVM.bootSync(await build(SCRIPT, SCRIPT_CALL), {
    imports: { env: { add: (_context, a: number, b: number) => (a + b) | 0 } },
  });
  using wasiVm = MicroVM.bootSync(await build(WASI, WASI_CALL), { wasi: {} });
  const script: number[] = [];
  const plain: number[] = [];
  const wasi: number[] = [];
  const floor: number[] = [];
  const take = (vm: MicroVM, samples: number[]) => (count: number) => {
    vm.callSync("run", 10);
    for (let i = 0; i < count; i++) {
      const begin = nowUs();
      vm.callSync("run", calls);
      samples.push((nowUs() - begin) / calls);
    }
  };
  await interleave(
    total,
    BATCH,
    [
      take(scriptVm, script),
      async (count) => {
        const report = await runFloor(settings.floor, imagePath, [
          ...["--boot", "direct", "--runs", String(count), "--host-call", String(calls)],
        ]);
        floor.push(...(report.samples["host call"] ?? []));
      },
      take(plainVm, plain),
      take(wasiVm, wasi),
    ],
    (done) => settings.progress(`${done} of ${total}`),
  );
  const schedYield = summarize(wasi);
  const withoutWork = summarize(plain);
  const besides = summarize(script).p50 - summarize(floor).p50;
  return {
    unit: "us",
    samples: script,
    floor,
    details: {
      callsPerSample: calls,
      warmUpCallsPerBatch: 10,
      withoutWork: { ...withoutWork, samples: plain },
      schedYield: { ...schedYield, samples: wasi },
      exits: scriptVm.exits,
    },
    notes: [
      `TypeScript and Node-API take ${besides.toFixed(2)} us of it`,
      `answered with zeros by the addon p50 ${withoutWork.p50.toFixed(2)} us`,
      `WASI sched_yield p50 ${schedYield.p50.toFixed(2)} us`,
    ],
  };
}

export const hostCall: Scenario = {
  name: "host-call",
  title: "ring 3 -> TypeScript function -> ring 3, the mean of 2,000 calls in a row for each sample",
  measure,
};
