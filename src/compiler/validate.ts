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

function validateByV8(bytes: Uint8Array): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    const text = cause.message.replace(/^WebAssembly\.Module\(\): /, "");
    // V8 says so where it knows the feature and has it switched off.
    if (/enable with --experimental-wasm|invalid (opcode|numeric opcode) 0xf[b-e]/i.test(text)) {
      throw unsupported(text, cause);
    }
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
