/** Processor levels: what an image was compiled for, and what this host's processor runs. */
import { readFileSync } from "node:fs";
import { BarecellError } from "../errors.ts";

/** A level of the x86-64 psABI. v1 is not offered: every x86-64 server of the last decade has v2. */
export type TargetCpu = "x86-64-v2" | "x86-64-v3";
/** From the lowest to the highest. */
export const TARGET_CPUS: readonly TargetCpu[] = ["x86-64-v2", "x86-64-v3"];

/** Flags of /proc/cpuinfo for each level of the x86-64 psABI (AMD64 supplement, table 3.1). */
const LEVEL_FLAGS: Readonly<Record<TargetCpu, readonly string[]>> = {
  "x86-64-v2": ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"],
  "x86-64-v3": [
    ...["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"],
    ...["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"],
  ],
};

let hostFlags: ReadonlySet<string> | undefined;

/** Flags of the processor as the kernel names them; empty where /proc/cpuinfo cannot be read. */
export function processorFlags(): ReadonlySet<string> {
  if (hostFlags) return hostFlags;
  try {
    const line = /^flags\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
    hostFlags = new Set(line.split(" "));
  } catch {
    hostFlags = new Set();
  }
  return hostFlags;
}

/** @returns the flags that a level needs and the processor lacks */
export function missingFlags(target: TargetCpu, flags: ReadonlySet<string> = processorFlags()): string[] {
  return LEVEL_FLAGS[target].filter((flag) => !flags.has(flag));
}

/** @returns the highest level that the processor has; the lowest where it cannot be told */
export function hostTargetCpu(flags: ReadonlySet<string> = processorFlags()): TargetCpu {
  return TARGET_CPUS.findLast((target) => missingFlags(target, flags).length === 0) ?? "x86-64-v2";
}

/** @throws BARECELL_IMAGE_CPU */
export function checkProcessor(target: TargetCpu, flags: ReadonlySet<string> = processorFlags()): void {
  const missing = missingFlags(target, flags);
  if (missing.length === 0) return;
  throw new BarecellError(
    "BARECELL_IMAGE_CPU",
    `the image is for ${target}, and this processor lacks ${missing.join(", ")}; compile it with a lower targetCpu (--target-cpu x86-64-v2)`,
  );
}
