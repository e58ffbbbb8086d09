/** Processor levels: which one a host has, and what is refused on it. */
import { describe, expect, it } from "vitest";
import {
  checkProcessor,
  hostTargetCpu,
  missingFlags,
  processorFlags,
  TARGET_CPUS,
} from "../../src/image/target-cpu.ts";
import { compile } from "../support/barecell.ts";

const V2 = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];
const V3 = [...V2, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"];
const EMPTY = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

describe("the host's level", () => {
  it("is the highest of which nothing is missing", () => {
    expect(hostTargetCpu(new Set(V3))).toBe("x86-64-v3");
    expect(hostTargetCpu(new Set([...V3, "avx512f"]))).toBe("x86-64-v3");
    expect(hostTargetCpu(new Set(V2))).toBe("x86-64-v2");
  });

  it.each(V3.slice(V2.length))("is x86-64-v2 without %s", (flag) => {
    expect(hostTargetCpu(new Set(V3.filter((name) => name !== flag)))).toBe("x86-64-v2");
  });

  it("is the lowest where nothing is known of the processor; the boot says then what is missing", () => {
    expect(hostTargetCpu(new Set())).toBe("x86-64-v2");
    expect(() => checkProcessor("x86-64-v2", new Set())).toThrow(/lacks cx16, lahf_lm/);
  });

  it("is one that this processor runs", () => {
    expect(missingFlags(hostTargetCpu())).toEqual([]);
    expect(() => checkProcessor(hostTargetCpu())).not.toThrow();
    const beyond = TARGET_CPUS.slice(TARGET_CPUS.indexOf(hostTargetCpu()) + 1);
    for (const level of beyond) expect(missingFlags(level, processorFlags())).not.toEqual([]);
  });
});

describe("compile()", () => {
  it("is for the host unless told otherwise, and the image names the level", async () => {
    expect((await compile(EMPTY)).manifest.targetCpu).toBe(hostTargetCpu());
    expect((await compile(EMPTY, { targetCpu: "host" })).manifest.targetCpu).toBe(hostTargetCpu());
    for (const level of TARGET_CPUS) {
      expect((await compile(EMPTY, { targetCpu: level })).manifest.targetCpu).toBe(level);
    }
  });

  it.each(["x86-64", "native", "", 3])("refuses %j", async (targetCpu) => {
    await expect(compile(EMPTY, { targetCpu: targetCpu as "host" })).rejects.toMatchObject({
      code: "BARECELL_ARGUMENT_INVALID",
      message: expect.stringContaining("host, x86-64-v2, x86-64-v3"),
    });
  });
});
