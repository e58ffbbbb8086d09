/** What the machine that the tests run on is like. */
import { existsSync, readFileSync } from "node:fs";

/** Inside the emulated machine of `npm run test:svm`: kvm-amd with nested paging, ten times slower. */
export const isSvm: boolean = process.env["BARECELL_SVM"] === "1";

/** On the sanitizer build of the addon (scripts/sanitizer.mjs), which keeps freed memory for a while. */
export const isSanitized: boolean = process.env["BARECELL_SANITIZED"] === "1";

/** Factor for upper bounds and amounts of work. */
export const slowness: number = isSvm ? 10 : 1;

const processor = readFileSync("/proc/cpuinfo", "utf8");
const flags = new Set((/^flags\s*:\s*(.*)$/m.exec(processor)?.[1] ?? "").split(" "));

/** KVM without hardware support ("pagetable virtual machine"): ring 3 of a guest runs with the host's own descriptor tables and control registers. */
export const isPvm: boolean = !isSvm && existsSync("/sys/module/kvm_pvm");

/** Whether an instruction that a processor lacks, or keeps for ring 0, is #UD or #GP depends on its maker. */
export const isAmd: boolean = processor.includes("AuthenticAMD");

/** The processor's own AVX; a guest sees it where KVM passes it on, as PVM does unasked. */
export const hasAvx: boolean = flags.has("avx") && flags.has("avx2");

/** User-mode instruction prevention: `sgdt` and its like fault in ring 3. */
export const hasUmip: boolean = flags.has("umip");

/** A time stamp counter that can serve as a clock; QEMU's emulation has none. */
export const hasInvariantCounter: boolean = flags.has("nonstop_tsc");

/** Debian's libsimde-dev, without which no module that uses SIMD compiles. */
export const hasSimde: boolean = ["/usr/include", "/usr/local/include"].some((folder) =>
  existsSync(`${folder}/simde/wasm/simd128.h`),
);

/** A test that cannot hold here says so where people look, whatever the reporter shows of skipped tests. */
export function announceSkip(what: string, why: string): void {
  process.stderr.write(`\n!!! SKIPPED: ${what}: ${why}\n`);
}

/**
 * Waits for a promise, but not forever: what hangs fails here with a name, and the rest of the file still runs.
 * @param ms generous; multiplied in the emulated machine
 */
export async function soon<T>(what: string, promise: Promise<T>, ms = 20_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what} did not come to an end in ${ms * slowness} ms`)),
      ms * slowness,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
