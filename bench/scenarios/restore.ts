/** From a snapshot in memory to the result of a call that only an initialised module can give. */
import { compile, MicroVM, preinitialise } from "barecell";
import wabtInit from "wabt";
import { measureColdBoot } from "../cold-boot.ts";
import {
  interleave,
  type Measurement,
  nowUs,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { callOnce, saveSubject } from "../subject.ts";

const ENTRIES = 65_536;
const FACTOR = 2_654_435_761;

/** `init` fills a table of 256 KiB in linear memory; `lookup` reads an entry of it. */
const MODULE = `(module
  (memory (export "memory") 16)
  (global $entries (mut i32) (i32.const 0))
  (func (export "init") (local $i i32)
    (loop $next
      (i32.store (i32.shl (local.get $i) (i32.const 2)) (i32.mul (local.get $i) (i32.const ${FACTOR | 0})))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const ${ENTRIES}))))
    (global.set $entries (local.get $i)))
  (func (export "lookup") (param $i i32) (result i32)
    (i32.shr_u
      (i32.load (i32.shl (i32.rem_u (local.get $i) (global.get $entries)) (i32.const 2)))
      (i32.const 1))))`;

const ASKED = 12_345;
const BATCH = 20;
const FRESH = { boot: "direct" } as const;

async function measure(settings: Settings): Promise<Measurement> {
  settings.progress("compiling");
  const wabt = await wabtInit();
  const module = wabt.parseWat("table.wat", MODULE).toBinary({}).buffer;
  const image = await compile(module, { cache: false });
  const snapshot = await preinitialise(image, "init");
  const call = { name: "lookup", args: [ASKED], result: Math.imul(ASKED, FACTOR) >>> 1 };
  const subject = await saveSubject(settings, "a table of 256 KiB, filled by init()", snapshot, call);
  const restored = await measureColdBoot(settings, "direct", subject);

  const total = sampleCount(settings, 100, BATCH);
  const initialised: number[] = [];
  await interleave(total, BATCH, [
    (count) => {
      for (let i = 0; i < count; i++) {
        const begin = nowUs();
        const vm = MicroVM.bootSync(image, FRESH);
        vm.callSync("init");
        callOnce(vm, call);
        initialised.push(nowUs() - begin);
        vm.dispose();
      }
    },
  ]);
  return {
    ...restored,
    parts: { "without a snapshot: boot, init(), call": { unit: "us", samples: initialised, floor: null } },
  };
}

export const restore: Scenario = {
  name: "restore",
  title: "no VM yet -> a snapshot in memory boots -> result of one call",
  measure,
};
