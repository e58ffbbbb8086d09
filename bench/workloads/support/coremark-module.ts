/**
 * Makes a workload of CoreMark. The program is no part of the project and is taken from where it is present: the build of CoreMark 1.0 by wasm3, which imports
 * a clock `env.clock_ms` and exports `run`, which returns iterations per second, or 0 if its checksums are wrong.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testData } from "../../paths.ts";
import { Unavailable } from "../../peers/peer.ts";
import { errorText } from "../../peers/support/error-text.ts";
import { rewriteModule } from "../../wasm-text.ts";

const VARIABLE = "BARECELL_COREMARK";
const CLOCK_IMPORT = /\(import "env" "clock_ms" \(func \$env\.clock_ms \(type (\$\w+)\)\)\)/;

/**
 * CoreMark looks for a number of iterations that takes a second, ten times as many each time, and then runs as many as should take more than ten seconds. So the
 * clock decides how much work is done, and is replaced by one that counts how often it was asked: the work is always the same, and nobody is asked the time.
 * With `n`, the 10^(n+1) iterations that come last seem to take a second; eleven times as many follow, which seem to take eleven. So the result, in iterations
 * per second, is 10^(n+1).
 */
const clock = (type: string): string => `
  (func $env.clock_ms (type ${type})
    (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
    (if (i32.lt_s (global.get $asked) (i32.const 1)) (then (return (i64.const 0))))
    (if (i32.lt_s (global.get $asked) (i32.const 3)) (then (return (i64.const 1000))))
    (i64.const 12000))
  (global $asked (mut i32) (i32.const 0))
  (func (export "kernel_run") (param $n i32) (result i32)
    (global.set $asked (i32.sub (i32.const -1) (i32.shl (local.get $n) (i32.const 1))))
    (i32.trunc_sat_f32_u (call $run)))`;

/** @returns the module's path in the folder. @throws Unavailable if the program is not present, or another one */
export async function makeCoreMark(folder: string): Promise<string> {
  const given = process.env[VARIABLE];
  const path = given ?? testData("bench", "wasm3", "coremark", "coremark-minimal.wasm");
  const cure = `set ${VARIABLE} to the path of wasm3's coremark-minimal.wasm; the workload "long" computes in its place`;
  if (!existsSync(path)) throw new Unavailable(`CoreMark is not there: ${path}`, cure);
  try {
    const output = join(folder, "coremark.wasm");
    writeFileSync(output, await adapt(readFileSync(path)));
    return output;
  } catch (error) {
    throw new Unavailable(
      `${path} is not the build of CoreMark that is known here: ${errorText(error)}`,
      cure,
    );
  }
}

/** @throws Error if it is another program */
function adapt(bytes: Uint8Array): Promise<Uint8Array> {
  return rewriteModule(bytes, (text) => {
    if (!CLOCK_IMPORT.test(text)) throw new Error("it does not import env.clock_ms");
    return text.replace(CLOCK_IMPORT, (_, type: string) => clock(type));
  });
}
