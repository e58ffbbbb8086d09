/** The compute kernels of the benchmarks give the same results in the VM as in V8 and natively (bench/kernels/kernels.json), for every target. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { missingFlags } from "../../src/image/target-cpu.ts";
import { compile, MicroVM } from "../support/barecell.ts";

interface Kernel {
  readonly name: string;
  readonly quickN: number;
  readonly quickChecksum: number;
}

const folder = new URL("../../bench/kernels/", import.meta.url);
const kernels = JSON.parse(readFileSync(new URL("kernels.json", folder), "utf8")) as Kernel[];
/** A fused multiply-add, or another rounding, would show in those of floating point. */
const hasV3 = missingFlags("x86-64-v3").length === 0;

async function run(kernel: Kernel, targetCpu: "x86-64-v2" | "x86-64-v3"): Promise<number> {
  const image = await compile(new URL(`wasm/${kernel.name}.wasm`, folder), { targetCpu });
  const vm = await MicroVM.boot(image);
  try {
    return Number(await vm.call("kernel_run", kernel.quickN)) >>> 0;
  } finally {
    vm.dispose();
  }
}

describe("kernels", () => {
  it.each(kernels.map((kernel) => [kernel.name, kernel] as const))("%s for x86-64-v2", async (_, kernel) => {
    expect(await run(kernel, "x86-64-v2")).toBe(kernel.quickChecksum >>> 0);
  });

  it.skipIf(!hasV3).each(kernels.map((kernel) => [kernel.name, kernel] as const))(
    `%s for x86-64-v3${hasV3 ? "" : " (SKIPPED: this processor has no AVX2)"}`,
    async (_, kernel) => {
      expect(await run(kernel, "x86-64-v3")).toBe(kernel.quickChecksum >>> 0);
    },
  );
});
