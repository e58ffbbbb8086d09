/**
 * WebAssembly text, by npm's wabt. It only parses here: whether a module is valid is barecell's to say, so that its own judgement is what
 * the tests see.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import wabtInit from "wabt";

type Wabt = Awaited<ReturnType<typeof wabtInit>>;
type Features = NonNullable<Parameters<Wabt["parseWat"]>[2]>;

const VERSION_2: Features = {
  exceptions: false,
  mutable_globals: true,
  sat_float_to_int: true,
  sign_extension: true,
  simd: true,
  threads: false,
  function_references: false,
  multi_value: true,
  tail_call: false,
  bulk_memory: true,
  reference_types: true,
  annotations: false,
  code_metadata: false,
  gc: false,
  memory64: false,
  extended_const: false,
  relaxed_simd: false,
};

/** Its typings do not know all that it has. */
const EVERYTHING = {
  ...Object.fromEntries(Object.keys(VERSION_2).map((name) => [name, true])),
  multi_memory: true,
} as Features;

/** "2.0": WebAssembly 2.0 and nothing else; "all": every proposal that wabt knows. */
export type Language = "2.0" | "all";
const FEATURES: Readonly<Record<Language, Features>> = { "2.0": VERSION_2, all: EVERYTHING };

const WAT2WASM = createRequire(import.meta.url).resolve("wabt/bin/wat2wasm");

/** wabt does not take the text; or, if `isCrash`, broke down over it, which says nothing about the text. */
export class TextError extends Error {
  override readonly name = "TextError";
  readonly isCrash: boolean;
  constructor(message: string, isCrash = false) {
    super(message);
    this.isCrash = isCrash;
  }
}

export class Wat {
  #wabt: Wabt;
  private constructor(wabt: Wabt) {
    this.#wabt = wabt;
  }

  static async create(): Promise<Wat> {
    return new Wat(await wabtInit());
  }

  /**
   * The binary of a module, which may be an invalid one.
   * @param firstLine line of the script where the text begins, for messages
   * @throws TextError if it cannot be parsed
   */
  async toBinary(text: Uint8Array, language: Language, firstLine = 1): Promise<Uint8Array> {
    return this.#guarded(() => {
      // A copy, because wabt takes the whole buffer under a view.
      const module = this.#wabt.parseWat("text", Uint8Array.from(text), FEATURES[language]);
      try {
        return Uint8Array.from(module.toBinary({ write_debug_names: true }).buffer);
      } finally {
        module.destroy();
      }
    }, firstLine);
  }

  /**
   * As `toBinary`, for text that needs proposals which wabt's library does not write (a data segment of another memory than the first is one). Takes much
   * longer. Undefined if the tool does not take the text either.
   */
  async toBinaryByTool(text: Uint8Array): Promise<Uint8Array | undefined> {
    const folder = await mkdtemp(join(tmpdir(), "barecell-spec-"));
    try {
      await writeFile(join(folder, "module.wat"), text);
      const options = ["--enable-all", "--no-check", "--debug-names", "module.wat", "-o", "module.wasm"];
      await promisify(execFile)(process.execPath, [WAT2WASM, ...options], { cwd: folder, timeout: 60_000 });
      return Uint8Array.from(await readFile(join(folder, "module.wasm")));
    } catch {
      return undefined;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Is it a valid module of WebAssembly 2.0? Only asked about modules that barecell refused, to tell whether it may. */
  async isVersion2(binary: Uint8Array): Promise<boolean> {
    try {
      await this.#guarded(() => {
        const module = this.#wabt.readWasm(Uint8Array.from(binary), { ...VERSION_2, readDebugNames: false });
        try {
          module.validate();
        } finally {
          module.destroy();
        }
        return new Uint8Array();
      }, 1);
      return true;
    } catch {
      return false;
    }
  }

  async #guarded(run: () => Uint8Array, firstLine: number): Promise<Uint8Array> {
    try {
      return run();
    } catch (error) {
      // It is WebAssembly itself. One that has trapped is not to be used again.
      if (error instanceof Error && (error.name === "RuntimeError" || error instanceof RangeError)) {
        this.#wabt = await wabtInit();
        throw new TextError(`wabt broke down: ${error.message}`, true);
      }
      throw new TextError(shortMessage(error, firstLine));
    }
  }
}

/** Of wabt's lines the first complaint, with the line of the script in place of the text's own. */
function shortMessage(error: unknown, firstLine: number): string {
  const message = error instanceof Error ? error.message : String(error);
  const found = /:(\d+):(\d+): error: (.*)/.exec(message);
  if (found === null) return message.split("\n").slice(0, 2).join(" ");
  return `${found[3]} (line ${Number(found[1]) + firstLine - 1})`;
}
