/**
 * Runs npm wabt's wasm2c with a large stack, over a list of modules. Started as a child process by wasm2c.ts, never imported. Its arguments are those of
 * the tool; several lists of them are separated by `--next`. Ends with the first module that the tool refuses, after the line `--next N`, N its place.
 *
 * The tool is itself WebAssembly with a stack of 64 KiB, which real modules overrun. Its exports allow a larger one: grow its
 * memory, then allocate a negative amount of stack, which moves the stack pointer up to the new end. V8's own stack for it is as small: a process that
 * was started with a large one (`--stack-size`) runs its only module at once, others give each module a worker thread, which costs as much as a small module.
 */
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { setFlagsFromString } from "node:v8";
import { compileFunction } from "node:vm";
import { isMainThread, Worker, workerData } from "node:worker_threads";

/** The most that the tool's memory may have (emscripten's own limit), so heap and stack are as far apart as they can be. */
const MEMORY_BYTES = 2 ** 31 - 65536;
const STACK_BYTES = 256 * 2 ** 20;
const THREAD_STACK_MB = 512;
/** Stands at the end of the stack; heap growing up or stack growing down would overwrite it. */
const CANARY = 0x5afe57ac;

interface ToolExports {
  readonly o: WebAssembly.Memory;
  /** `_emscripten_stack_alloc`. */
  readonly r: (sizeBytes: number) => number;
}

type Instantiated = (instance: WebAssembly.Instance) => void;

const toolRequire = createRequire(import.meta.url);
const script = toolRequire.resolve("wabt/bin/wasm2c");

/** What the main thread gives to a worker. */
interface WorkerInput {
  /** The tool's script, without the binary that stands in it. */
  readonly source: string;
  readonly binary: WebAssembly.Module;
}

let memory: WebAssembly.Memory | undefined;

function enlargeStack(exports: ToolExports): void {
  if (!(exports.o instanceof WebAssembly.Memory) || typeof exports.r !== "function") {
    throw new Error("this version of the npm package wabt is not the one barecell knows (1.0.39)");
  }
  memory = exports.o;
  memory.grow((MEMORY_BYTES - memory.buffer.byteLength) / 65536);
  new DataView(memory.buffer).setUint32(MEMORY_BYTES - STACK_BYTES, CANARY);
  exports.r(exports.r(0) - (MEMORY_BYTES - 64));
}

const moduleWith = (binary: WebAssembly.Module) => ({
  instantiateWasm(imports: WebAssembly.Imports, done: Instantiated): object {
    const instance = new WebAssembly.Instance(binary, imports);
    enlargeStack(instance.exports as unknown as ToolExports);
    done(instance);
    return {};
  },
});

/** The WebAssembly binary stands in the script as a string whose characters are the bytes, inverted and moved out of the way. */
function splitScript(text: string): WorkerInput {
  const decoder = /function binaryDecode\((\w+)\)\{.*?return \w+\}/s.exec(text);
  const call = /binaryDecode\((["'])/.exec(text.slice((decoder?.index ?? 0) + (decoder?.[0].length ?? 0)));
  if (decoder === null || call === null) {
    throw new Error("this version of the npm package wabt is not the one barecell knows (1.0.39)");
  }
  const start = decoder.index + decoder[0].length + call.index + "binaryDecode(".length;
  const quote = call[1] as string;
  let end = start + 1;
  while (text[end] !== quote) end += text[end] === "\\" ? 2 : 1;
  end++;
  const decode = compileFunction(`${decoder[0]}; return binaryDecode(${text.slice(start, end)})`);
  return {
    source: `${text.slice(0, start)}""${text.slice(end)}`,
    binary: new WebAssembly.Module(decode() as Uint8Array<ArrayBuffer>),
  };
}

/** Modules below this size are done before V8's better code for the tool is; making it only takes the processors from others. */
const LARGE_MODULE_BYTES = 2 ** 20;

async function runJobs(): Promise<void> {
  const jobs = jobsOf(process.argv.slice(2));
  // Most of the tool is never used. A V8 that does not know these switches says nothing.
  setFlagsFromString("--wasm-lazy-compilation");
  const inputs = jobs.map(([input = ""]) => statSync(input).size);
  if (inputs.every((sizeBytes) => sizeBytes < LARGE_MODULE_BYTES)) {
    setFlagsFromString("--no-wasm-dynamic-tiering");
    setFlagsFromString("--no-wasm-tier-up");
  }
  // The script decodes and compiles its own binary; once is enough for all modules.
  const input = splitScript(readFileSync(script, "utf8").replace(/^#!.*\n/, ""));
  if (jobs.length === 1 && process.execArgv.some((option) => option.startsWith("--stack-size="))) {
    return runTool(input);
  }
  const waiting = [...jobs.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [job, argv] = next;
      const status = await runInWorker(argv, input);
      if (status === 0) continue;
      process.stderr.write(`\n--next ${job}\n`);
      process.exit(status);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
}

function jobsOf(argv: readonly string[]): string[][] {
  const jobs: string[][] = [[]];
  for (const word of argv) {
    if (word === "--next") jobs.push([]);
    else jobs.at(-1)?.push(word);
  }
  return jobs;
}

/** A thread for each module: the tool is made to run once. */
function runInWorker(argv: string[], workerData: WorkerInput): Promise<number> {
  return new Promise((resolve) => {
    const worker = new Worker(new URL(import.meta.url), {
      argv,
      workerData,
      resourceLimits: { stackSizeMb: THREAD_STACK_MB, maxOldGenerationSizeMb: 4096 },
    });
    let failed = false;
    worker.on("error", (error) => {
      process.stderr.write(`${error.message}\n`);
      failed = true;
    });
    worker.on("exit", (code) => resolve(failed ? 1 : code));
  });
}

function runTool({ source, binary }: WorkerInput): void {
  process.on("exit", (code) => {
    if (
      code === 0 &&
      memory &&
      new DataView(memory.buffer).getUint32(MEMORY_BYTES - STACK_BYTES) !== CANARY
    ) {
      process.stderr.write("wasm2c ran out of memory\n");
      process.exitCode = 70;
    }
  });
  const run = compileFunction(source, ["Module", "require", "module", "exports", "__filename", "__dirname"], {
    filename: script,
  });
  run(moduleWith(binary), toolRequire, { exports: {} }, {}, script, dirname(script));
}

if (isMainThread) await runJobs();
else runTool(workerData as WorkerInput);
