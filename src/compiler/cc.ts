/** Runs the C compiler and the linker over an image's sources. */
import { readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BarecellError, systemErrorCode } from "../errors.ts";
import type { TargetCpu } from "../image/target-cpu.ts";
import { placeLoops } from "./loop-placement.ts";
import { type CodeLevel, type LeveledOptions, toolLimits } from "./options.ts";
import type { SourceFile } from "./parts.ts";
import { runTool } from "./process.ts";
import { RUNTIME_SOURCES, runtimeObject } from "./runtime-object.ts";
import type { CCompiler } from "./toolchain.ts";

/** The guest's own sources, beside the compiled package. */
export const STUBS = fileURLToPath(new URL("../../guest-stubs", import.meta.url));

/** Flags of all guest code, each with its reason. They are part of the cache key. */
export const COMMON_FLAGS: readonly string[] = [
  "-std=gnu17",
  "-ffreestanding",
  // Code runs at 12 GiB, out of reach of 32-bit absolute addresses; with PIE all of its own data is reached relative to RIP.
  "-fPIE",
  "-fvisibility=hidden",
  // Backtraces unwind by tables, so that no register is spent on a frame pointer.
  "-fasynchronous-unwind-tables",
  "-fomit-frame-pointer",
  // The guest has no TLS for a canary, no signal frames, no CET; the hole below the stack is wider than any frame.
  "-fno-stack-protector",
  "-fcf-protection=none",
  "-fno-stack-clash-protection",
];

/** Flags of the module's code: what WebAssembly's semantics ask of a C compiler. */
const MODULE_FLAGS: readonly string[] = [
  // Address 0 is linear memory.
  "-fno-delete-null-pointer-checks",
  // Exact floating point: no folding that ignores signaling NaNs, no fused multiply-add.
  "-frounding-math",
  "-fsignaling-nans",
  "-ffp-contract=off",
  "-fno-math-errno",
  // Endless recursion has to exhaust the stack, not turn into a loop.
  "-fno-optimize-sibling-calls",
  "-w",
];

/** Passes that take the C compiler time and find nothing in such code: every store is a barrier to them. */
const IDLE_PASSES: readonly string[] = ["-fno-tree-pta", "-fno-dse"];

/** Flags of the module's code at the levels that are to make it fast; measured with `npm run bench -- compute programs`, in turns. */
const SPEED_FLAGS: readonly string[] = [
  // The pass counts on a base register, which code at address 0 does not have, and makes loops of two variables and additions where one would do.
  "-fno-ivopts",
  // LLVM has done most of what there is to gain. With the first of these passes heap sort and matrix products take 1.5 times as long; keccak is the other way round.
  // Without the second nothing is slower, and compiling takes a twentieth less.
  "-fno-tree-pre",
  "-fno-gcse",
  // A load that may trap is an asm statement, which no vectoriser takes.
  "-fno-tree-vectorize",
  // What the processor does by itself: the kernels are as fast without it, and compiling takes a tenth less.
  "-fno-schedule-insns2",
  // Targets of indirect jumps (br_table) are predicted worse where several share a block of 32 bytes.
  "-falign-functions=32",
  "-falign-loops=32",
  "-falign-jumps=32",
];

/** Of level 3: calls into themselves (queens) gain a fifth. The rest of its limits for inlining took a tenth of the compile time, and gained nothing that stood out. */
const INLINING: readonly string[] = ["--param=inline-min-speedup=15"];

/**
 * For modules with vectors, of which there are 16 registers: what keeps gcc 12 from holding more of them at a time than the module does, and so from storing some between an
 * instruction and the next one that needs the result. Other modules gain nothing by the first, and some compile twice as long; without reassociation a CRC of theirs takes a
 * quarter more.
 */
const VECTOR_FLAGS: readonly string[] = ["-flive-range-shrinkage", "-fno-tree-reassoc"];

/** All flags of a module's C at a level. @param hasVectors whether a module of the image uses SIMD */
export function moduleFlags(level: CodeLevel, hasVectors: boolean): string[] {
  const isFast = level === 2 || level === 3;
  return [
    `-O${level}`,
    ...MODULE_FLAGS,
    ...(isFast || level === 1 ? IDLE_PASSES : []),
    ...(isFast ? SPEED_FLAGS : []),
    ...(isFast && hasVectors ? VECTOR_FLAGS : []),
    ...(level === 2 ? INLINING : []),
  ];
}

/** Not the name of any source's object. */
const RUNTIME_OBJECT = "runtime-all.o";

/** Flags of the guest's own sources. */
export const RUNTIME_FLAGS: readonly string[] = [
  "-O2",
  "-fno-builtin",
  "-fno-tree-loop-distribute-patterns",
  "-fno-delete-null-pointer-checks",
];

export function targetFlags(target: TargetCpu): string[] {
  // No fused multiply-add: WebAssembly rounds twice. gcc 12's vectoriser makes one (vfmaddsub) in spite of -ffp-contract=off.
  return [`-march=${target}`, "-mtune=generic", "-mno-fma"];
}

/** Fuel has a register to itself, in all of the guest's code (guest-stubs/include/fuel.h). */
export function meteringFlags(metering: boolean): string[] {
  return metering ? ["-ffixed-r15", "-DBC_METERING"] : [];
}

/** What stands in the build folder before the C compiler runs. */
export interface Sources {
  /** wasm2c's sources of all modules, adapted; headers too. */
  readonly modulesC: readonly SourceFile[];
  readonly glueC: string;
  /** Assembler with the note and the initial contents of linear memory. */
  readonly imageS: string;
  readonly files: ReadonlyMap<string, string | Uint8Array>;
  /** What the linker script says about linear memories. */
  readonly linearScript: { readonly phdrs: string; readonly sections: string };
  /** Assignments of symbols for the linker script. */
  readonly linkedSymbols: string;
  /** Symbols for the linker script. */
  readonly symbols: ReadonlyMap<string, number>;
  /** Folder of the compiler's own headers. */
  readonly include: string;
  /** Stands for all that the guest's runtime depends on. */
  readonly runtimeKey: string;
  /** Folder of the cache, or false for none. */
  readonly cache: string | false;
  /** Folder of the SIMDe headers, if the module needs them. */
  readonly simde: string | undefined;
}

/** @returns the path of the linked ELF file */
export async function buildImage(
  compiler: CCompiler,
  sources: Sources,
  folder: string,
  options: LeveledOptions,
): Promise<string> {
  const limits = toolLimits(options, options.compileMemoryBytes);
  const script = (await readFile(join(STUBS, "image.ld"), "utf8"))
    .replace("@LINEAR_PHDRS@", sources.linearScript.phdrs)
    .replace("@LINEAR_SECTIONS@", sources.linearScript.sections)
    .replace("@LINKED_SYMBOLS@", sources.linkedSymbols);
  await Promise.all([
    writeFile(join(folder, "image.ld"), script),
    ...sources.modulesC.map(({ name, text }) => writeFile(join(folder, name), text)),
    writeFile(join(folder, "glue.c"), sources.glueC),
    writeFile(join(folder, "image.S"), sources.imageS),
    ...[...sources.files].map(([name, content]) => writeFile(join(folder, name), content)),
  ]);
  // Only SIMDe wants the system's headers (for types and inline functions); ours come first.
  const shared = [
    ...COMMON_FLAGS,
    ...targetFlags(options.targetCpu),
    ...meteringFlags(options.metering),
    "-I",
    STUBS,
    "-I",
    folder,
    "-isystem",
    join(STUBS, "include"),
    "-isystem",
    sources.include,
    ...(sources.simde === undefined ? ["-nostdinc"] : ["-idirafter", sources.simde]),
  ];
  const cc = (...args: string[]) =>
    runTool("the C compiler", [compiler.path, ...shared, ...args], folder, limits);
  options.onProgress("compile");
  const hasVectors = sources.simde !== undefined;
  const units = sources.modulesC.filter(({ name }) => name.endsWith(".c"));
  // What takes longest first, so that it is not what all wait for in the end.
  const inTurn = [...units].sort((a, b) => compileCost(b) - compileCost(a));
  const makeRuntime = async (): Promise<Uint8Array> => {
    const objects = RUNTIME_SOURCES.map((name) => name.replace(/\.[cS]$/, ".o"));
    await cc("-c", ...RUNTIME_FLAGS, ...RUNTIME_SOURCES.map((name) => join(STUBS, name)));
    const link = ["-r", "-nostdlib", ...objects, "-o", RUNTIME_OBJECT];
    await runTool("the linker", [compiler.path, ...link], folder, limits);
    return readLinked(join(folder, RUNTIME_OBJECT));
  };
  const compileUnit = async ({ name, level }: SourceFile): Promise<void> => {
    const flags = moduleFlags(level, hasVectors);
    if (level !== 2 && level !== 3) {
      await cc("-c", ...flags, name);
      return;
    }
    const assembly = name.replace(/\.c$/, ".s");
    await cc("-S", ...flags, name);
    const path = join(folder, assembly);
    const text = Buffer.from(await readMade("the C compiler", path)).toString("utf8");
    await writeFile(path, placeLoops(text));
    await cc("-c", ...flags, assembly);
  };
  await inParallel([
    async () => {
      const object = await runtimeObject(sources.runtimeKey, sources.cache, makeRuntime);
      await writeFile(join(folder, RUNTIME_OBJECT), object);
    },
    ...inTurn.map((unit) => () => compileUnit(unit)),
    () => cc("-c", ...moduleFlags(options.level, hasVectors), "glue.c", "image.S"),
  ]);
  options.onProgress("link");
  const defsym = [...sources.symbols].map(([name, value]) => `-Wl,--defsym,${name}=${value}`);
  await runTool(
    "the linker",
    [
      compiler.path,
      "-nostdlib",
      "-static",
      "-no-pie",
      "-Wl,-z,max-page-size=4096,-z,common-page-size=4096,-z,noexecstack,--build-id=none,--no-warn-mismatch",
      ...defsym,
      "-Wl,-T,image.ld",
      RUNTIME_OBJECT,
      // In the order of the files, not of the jobs.
      ...units.map(({ name }) => name.replace(/\.c$/, ".o")),
      "glue.o",
      "image.o",
      "-o",
      "image.elf",
    ],
    folder,
    limits,
  );
  return join(folder, "image.elf");
}

/** How long a file takes: a character at level 2 a third longer than one at level 1. */
const compileCost = ({ text, level }: SourceFile): number =>
  text.length * (level === 2 || level === 3 ? 4 : 3);

/** Runs jobs, as many at once as there are processors. The first failure ends it; what runs then is waited for. */
async function inParallel(jobs: readonly (() => Promise<unknown>)[]): Promise<void> {
  const waiting = [...jobs];
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job && !failure; job = waiting.shift()) {
      await job().catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  if (failure) throw failure.error;
}

/** What the linker made. @throws BARECELL_COMPILE_FAILED if it made nothing */
export const readLinked = (path: string): Promise<Uint8Array> => readMade("the linker", path);

/** @throws BARECELL_COMPILE_FAILED if there is nothing */
async function readMade(tool: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause;
    throw new BarecellError("BARECELL_COMPILE_FAILED", `${tool} was content, but wrote no file`, {
      cause,
    });
  }
}
