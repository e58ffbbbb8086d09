/**
 * Decides whether the bytes are a module that barecell runs. V8 validates first: it is robust and fast on anything. It also accepts
 * proposals beyond WebAssembly 2.0; those are found by the reader (types), or by wasm2c, which has them switched off (see wasm2c.ts).
 */
import { BarecellError } from "../errors.ts";
import { type ModuleInfo, readModule, WasmFormatError } from "./wasm-reader.ts";

/** @throws BARECELL_MODULE_INVALID, BARECELL_MODULE_UNSUPPORTED, BARECELL_MODULE_TOO_LARGE */
export function validateModule(bytes: Uint8Array, maxModuleBytes: number): ModuleInfo {
  if (bytes.length > maxModuleBytes) {
    throw new BarecellError(
      "BARECELL_MODULE_TOO_LARGE",
      `the module has ${bytes.length} bytes, and the limit is ${maxModuleBytes}; raise maxModuleBytes`,
    );
  }
  const info = read(bytes);
  // Before V8, which knows the proposal in some versions and calls it invalid in others.
  if (info.memories.length > 1) throw unsupported("it has several memories (multi-memory proposal)");
  const module = validateByV8(bytes);
  const seen = WebAssembly.Module.exports(module).length;
  // Two readers of one file that disagree would be a way to smuggle something past the first.
  if (seen !== info.exports.length || WebAssembly.Module.imports(module).length !== info.imports.length) {
    throw new BarecellError("BARECELL_INTERNAL", "V8 and barecell read the module differently");
  }
  return info;
}

function read(bytes: Uint8Array): ModuleInfo {
  try {
    return readModule(bytes);
  } catch (cause) {
    if (!(cause instanceof WasmFormatError)) throw cause;
    if (cause.proposal !== undefined) throw unsupported(cause.message, cause);
    throw new BarecellError("BARECELL_MODULE_INVALID", cause.message, { cause });
  }
}

/** What V8 finds wrong with a module of a later proposal that it does not know, or has switched off. Opcodes: the proposals' own overviews. */
const PROPOSALS_BY_ERROR: readonly (readonly [RegExp, string])[] = [
  [/invalid (?:numeric )?opcode 0xfb/i, "garbage collection"],
  [/invalid (?:numeric )?opcode 0xfd1/i, "relaxed SIMD"],
  [/invalid (?:numeric )?opcode 0xfe/i, "threads and atomics"],
  [/invalid (?:numeric )?opcode 0xfc(?:1[3-9a-f])/i, "wide arithmetic"],
  [/invalid opcode 0x(?:1f|0a|08)\b/i, "exception handling"],
  [/invalid opcode 0x1[23]\b/i, "tail calls"],
  [/invalid opcode 0x(?:14|15|d[3-6])\b/i, "typed function references"],
];

function proposalNamedBy(text: string): string | undefined {
  const flag = /enable with --experimental-(?:wasm-)?([a-z0-9-]+)/i.exec(text)?.[1];
  return flag ?? PROPOSALS_BY_ERROR.find(([pattern]) => pattern.test(text))?.[1];
}

function validateByV8(bytes: Uint8Array): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    const text = cause.message.replace(/^WebAssembly\.Module\(\): /, "");
    const proposal = proposalNamedBy(text);
    if (proposal !== undefined) throw unsupported(`the proposal '${proposal}' (${text})`, cause);
    throw new BarecellError("BARECELL_MODULE_INVALID", `the module is not valid: ${text}`, { cause });
  }
}

export function unsupported(what: string, cause?: unknown, name = "the module"): BarecellError {
  return new BarecellError(
    "BARECELL_MODULE_UNSUPPORTED",
    `${name} uses something barecell does not run: ${what}`,
    { cause },
  );
}
