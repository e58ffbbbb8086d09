/** VM exits of whole programs, with what the guest answers itself and without. */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { compileProgram, findPrograms, type Program, runProgram } from "../programs.ts";
import type { Measurement, Scenario, Settings } from "../scenario.ts";

/** Languages and habits: C, C++, Rust, TinyGo and Zig; by the line, by the block, in pieces; with clocks, files and a standard input. */
const NAMES = [
  "sightglass/noop/benchmark.wasm",
  "sightglass/blake3-scalar/benchmark.wasm",
  "sightglass/rust-compression/benchmark.wasm",
  "sightglass/rust-html-rewriter/benchmark.wasm",
  "sightglass/quicksort/benchmark.wasm",
  "sightglass/shootout/shootout-ctype.wasm",
  "sightglass/tinygo/tinygo-regex.wasm",
  "wasm3/simple/test.wasm cat ./simple/0.txt",
  "wasm3/mandelbrot/mandel.wasm 32 4e5",
  "wasm3/mandelbrot/mandel.wasm 128 4e5",
  "wasm3/c-ray/c-ray.wasm -s 128x128",
  "wasm3/smallpt/smallpt-ex.wasm 16 64",
  "wasm3/brotli/brotli.wasm -c -f",
  "wasm3/stream/stream.wasm",
  "wamr/fasta.wasm 1000",
  "wamr/tsf.wasm",
];

interface Row {
  readonly program: string;
  /** Written to standard output and standard error. */
  readonly outputBytes: number;
  /** Every WASI call is a VM exit. */
  readonly withoutAnswers: number;
  readonly captured: number;
  /** In bursts of some milliseconds, for whom may look into it now and then. */
  readonly toFile: number;
  readonly ignored: number;
}

async function measureProgram(program: Program, settings: Settings): Promise<Row> {
  settings.progress(`compiling ${program.name}`);
  const image = await compileProgram(program);
  settings.progress(program.name);
  const capture = { stdout: "capture", stderr: "capture" } as const;
  const run = (wasi: Parameters<typeof runProgram>[3], answersInGuest = true) =>
    runProgram(program, image, settings.scratch, wasi, answersInGuest);
  const without = await run(capture, false);
  const captured = await run(capture);
  if (captured.exitCode !== without.exitCode) throw new Error(`${program.name} ends differently each time`);
  const fd = openSync(join(settings.scratch, "output"), "w");
  try {
    const toFile = await run({ stdout: { fd }, stderr: { fd } });
    return {
      program: program.name,
      outputBytes: captured.stdout.length + captured.stderr.length,
      withoutAnswers: without.exits,
      captured: captured.exits,
      toFile: toFile.exits,
      ignored: (await run({})).exits,
    };
  } finally {
    closeSync(fd);
  }
}

async function measure(settings: Settings): Promise<Measurement> {
  const programs = findPrograms(settings.quick ? NAMES.slice(0, 1) : NAMES);
  const rows: Row[] = [];
  for (const program of programs) rows.push(await measureProgram(program, settings));
  return {
    unit: "exits",
    samples: rows.map(({ captured }) => captured),
    floor: null,
    details: { programs: rows },
    notes: ["every call an exit / captured / to a file / ignored; bytes; program", ...rows.map(describe)],
  };
}

const describe = (row: Row): string =>
  [row.withoutAnswers, row.captured, row.toFile, row.ignored, row.outputBytes]
    .map((value) => String(value).padStart(6))
    .join(" ")
    .concat(`  ${row.program}`);

export const exits: Scenario = {
  name: "exits",
  title: "VM exits of whole programs, from the boot to the end",
  measure,
};
