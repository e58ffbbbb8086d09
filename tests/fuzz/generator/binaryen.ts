/**
 * Modules by binaryen's fuzzer: `wasm-opt --translate-to-fuzz` makes a valid module of any bytes. The npm package holds it as a program for
 * Node whose start (10 MB of WebAssembly to decode and compile) takes half a second; so it is loaded once, and then only instantiated anew
 * for each module, which takes some hundredths. The hooks are those that Emscripten documents for every program of its making.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Script } from "node:vm";
import { Random } from "./choices.ts";

/** Exactly WebAssembly 2.0. */
const FEATURES = [
  "--mvp-features",
  "--enable-simd",
  "--enable-bulk-memory",
  "--enable-multivalue",
  "--enable-reference-types",
  "--enable-sign-ext",
  "--enable-nontrapping-float-to-int",
  "--enable-mutable-globals",
];

type Imports = Record<string, Record<string, unknown>>;

interface Hooks {
  readonly arguments: readonly string[];
  readonly printErr: (line: string) => void;
  readonly postRun: () => void;
  readonly onAbort: (reason: unknown) => void;
  readonly instantiateWasm?: (imports: Imports, done: (instance: WebAssembly.Instance) => void) => void;
}

type Program = (
  require: NodeJS.Require,
  module: object,
  filename: string,
  folder: string,
  process: NodeJS.Process,
  wasm: object,
  hooks: Hooks,
) => void;

export class BinaryenGenerator {
  readonly #require = createRequire(import.meta.url);
  readonly #file: string;
  readonly #program: Program;
  readonly #folder: string;
  #compiled: WebAssembly.Module | undefined;

  constructor() {
    this.#file = join(dirname(this.#require.resolve("binaryen")), "bin", "wasm-opt");
    const source = readFileSync(this.#file, "utf8").replace(/^#!.*/, "");
    const wrapped = `(function (require, module, __filename, __dirname, process, WebAssembly, Module) {${source}\n})`;
    this.#program = new Script(wrapped, { filename: this.#file }).runInThisContext() as Program;
    this.#folder = mkdtempSync(join(tmpdir(), "barecell-fuzz-"));
  }

  /** The same module for the same seed. */
  async generate(seed: number): Promise<Uint8Array> {
    const random = new Random(seed);
    const input = join(this.#folder, "input");
    const output = join(this.#folder, "output.wasm");
    writeFileSync(input, random.bytes(200 + random.below(4000)));
    rmSync(output, { force: true });
    const switches = ["--quiet", ...FEATURES];
    // Out-of-bounds accesses end most calls early; half of the modules avoid them.
    if (random.below(2) === 0) switches.push("--no-fuzz-oob");
    // Some optimisation passes change the shape of the code.
    if (random.below(3) === 0) switches.push("--fuzz-passes");
    await this.#run(["--translate-to-fuzz", input, ...switches, "--output", output]);
    return Uint8Array.from(readFileSync(output));
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(args: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const said: string[] = [];
      const status = Object.create(process, { exitCode: { value: 0, writable: true } }) as NodeJS.Process;
      const compiled = this.#compiled;
      const hooks: Hooks = {
        arguments: args,
        printErr: (line) => said.push(line),
        onAbort: (reason) => reject(new Error(`wasm-opt aborted: ${String(reason)} ${said.join("\n")}`)),
        postRun: () => {
          if (status.exitCode === 0) resolve();
          else reject(new Error(`wasm-opt ${args.join(" ")}: ${said.join("\n")}`));
        },
        ...(compiled && {
          instantiateWasm: (imports, done) => done(new WebAssembly.Instance(compiled, imports)),
        }),
      };
      this.#program(this.#require, {}, this.#file, dirname(this.#file), status, this.#webAssembly(), hooks);
    });
  }

  /** What the program uses of WebAssembly; keeps what is compiled the first time. */
  #webAssembly(): object {
    const { RuntimeError, Instance } = WebAssembly;
    return {
      RuntimeError,
      instantiate: async (bytes: Uint8Array, imports: Imports) => {
        this.#compiled = new WebAssembly.Module(bytes);
        return { instance: new Instance(this.#compiled, imports) };
      },
    };
  }
}
