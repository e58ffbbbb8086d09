/**
 * The C and assembler source that ties one module to the guest runtime: entries for its exports, stubs that call its imports out
 * through their ports, its table capacities, its I/O permission bitmap. All names in it are ours (see canonical-module.ts).
 */
import { BC_PORT_DONE, BC_PORT_GROW, BC_PORT_IMPORT_BASE, BC_PORT_READY, BC_PORT_TRAP } from "../abi.ts";
import { exportName, IMPORT_MODULE, importName } from "./canonical-module.ts";
import { type FunctionType, functionTypeOf, type ModuleInfo, type ValueType } from "./wasm-reader.ts";

/** wasm2c's module name; part of its C symbols. */
export const MODULE = "m";

const C_TYPE: Record<ValueType, string> = {
  i32: "u32",
  i64: "u64",
  f32: "f32",
  f64: "f64",
  v128: "v128",
  funcref: "wasm_rt_funcref_t",
  externref: "wasm_rt_externref_t",
};
/** Letters by which wasm2c names the members of a multi-value result. */
const MEMBER: Record<ValueType, string> = {
  i32: "i",
  i64: "j",
  f32: "f",
  f64: "d",
  v128: "o",
  funcref: "r",
  externref: "e",
};

/** Whether values of the type can cross between host and guest (references cannot: a guest's pointer means nothing outside). */
export function crossesBoundary(type: FunctionType): boolean {
  return [...type.params, ...type.results].every((value) => value !== "funcref" && value !== "externref");
}

const load = (type: ValueType, slot: number): string => {
  if (type === "v128") return `bc_load_v128(&slots[${slot}])`;
  return `slots[${slot}].${{ i32: "u32", i64: "u64", f32: "f32", f64: "f64", funcref: "", externref: "" }[type]}`;
};

/** Whole 8 bytes are written for narrow types, so that nothing of an earlier value shows through to the host. */
const store = (type: ValueType, slot: number, value: string): string => {
  switch (type) {
    case "v128":
      return `__builtin_memcpy(&slots[${slot}], &${value}, 16);`;
    case "i32":
      return `slots[${slot}].u64 = (u32)${value};`;
    case "f32":
      return `slots[${slot}].u64 = 0; slots[${slot}].f32 = ${value};`;
    default:
      return `slots[${slot}].${type === "i64" ? "u64" : "f64"} = ${value};`;
  }
};

function resultType(type: FunctionType): string {
  if (type.results.length === 0) return "void";
  if (type.results.length === 1) return C_TYPE[type.results[0] as ValueType];
  return `struct wasm_multi_${type.results.map((result) => MEMBER[result]).join("")}`;
}

function exportEntry(index: number, type: FunctionType): string {
  const args = type.params.map((param, slot) => `, ${load(param, slot)}`).join("");
  const call = `w2c_${MODULE}_${exportName(index)}(&instance${args})`;
  const stores =
    type.results.length === 1
      ? [store(type.results[0] as ValueType, 0, "result")]
      : type.results.map((result, i) => store(result, i, `result.${MEMBER[result]}${i}`));
  const body =
    type.results.length === 0
      ? `${call};`
      : `${resultType(type)} result = ${call};\n  ${stores.join("\n  ")}`;
  return `static void call_${index}(bc_slot* slots) {\n  (void)slots;\n  ${body}\n}\n`;
}

function importStub(index: number, type: FunctionType): string {
  const params = type.params.map((param, i) => `, ${C_TYPE[param]} p${i}`).join("");
  const head = `${resultType(type)} w2c_${IMPORT_MODULE}_${importName(index)}(struct w2c_${IMPORT_MODULE}* unused${params})`;
  const stores = type.params.map((param, i) => `  ${store(param, i, `p${i}`)}\n`).join("");
  let tail = "";
  if (type.results.length === 1) tail = `  return ${load(type.results[0] as ValueType, 0)};\n`;
  if (type.results.length > 1) {
    const members = type.results.map((result, i) => `.${MEMBER[result]}${i} = ${load(result, i)}`).join(", ");
    tail = `  return (${resultType(type)}){${members}};\n`;
  }
  // noinline: a closed port faults inside this function, and the backtrace should say which import it was.
  return `__attribute__((noinline)) ${head} {\n  (void)unused;\n  bc_slot* slots = bc_mailbox_page.slots;\n  (void)slots;\n${stores}  bc_out(${BC_PORT_IMPORT_BASE + index}, 0);\n${tail}}\n`;
}

/** One bit a port, set = closed (SDM vol. 1, 19.5.2). Only the runtime's own ports are open; the host opens granted imports at boot. */
export function ioBitmap(importCount: number): Uint8Array {
  // One byte more than needed, all ones: the processor always reads two bytes.
  const bitmap = new Uint8Array(Math.ceil((BC_PORT_IMPORT_BASE + importCount) / 8) + 1).fill(0xff);
  for (const port of [BC_PORT_READY, BC_PORT_DONE, BC_PORT_TRAP, BC_PORT_GROW]) {
    bitmap[port >> 3] = (bitmap[port >> 3] as number) & ~(1 << (port & 7));
  }
  return bitmap;
}

/** @param tableCapacities elements reserved for each table, in index order */
export function glueSource(info: ModuleInfo, tableCapacities: readonly number[]): string {
  const functions = info.exports.map((entry, index) => {
    if (entry.kind !== "func") return undefined;
    const type = functionTypeOf(info, entry.index);
    return crossesBoundary(type) ? { index, type } : undefined;
  });
  const imports = info.imports.flatMap((entry) => (entry.kind === "func" ? [entry.type] : []));
  const bitmap = [...ioBitmap(imports.length)].join(",");
  const instantiateArgs = imports.length > 0 ? ", (struct w2c_h*)0" : "";
  return `#include "barecell-guest.h"
#include "module.h"
static w2c_${MODULE} instance;
void bc_instantiate(void) { wasm2c_${MODULE}_instantiate(&instance${instantiateArgs}); }
${usesVector(info) ? "static inline v128 bc_load_v128(const bc_slot* slot) { v128 value; __builtin_memcpy(&value, slot, 16); return value; }\n" : ""}
${imports.map((type, index) => importStub(index, type)).join("")}
${functions.map((entry) => (entry ? exportEntry(entry.index, entry.type) : "")).join("")}
void (*const bc_exports[])(bc_slot*) = {${functions.map((entry) => (entry ? `call_${entry.index}` : "0")).join(", ") || "0"}};
const uint32_t bc_export_count = ${functions.length};
const uint32_t bc_table_capacities[] = {${tableCapacities.join(", ") || "0"}};
const uint32_t bc_table_count = ${tableCapacities.length};
__attribute__((section(".boot.iopb"), used, aligned(1))) unsigned char bc_io_bitmap[] = {${bitmap}};
`;
}

function usesVector(info: ModuleInfo): boolean {
  return info.types.some((type) => [...type.params, ...type.results].includes("v128"));
}

/** How many slots the mailbox needs: the most values that any call carries, in or out. */
export function mailboxSlots(info: ModuleInfo): number {
  return info.types.reduce((most, type) => Math.max(most, type.params.length, type.results.length), 8);
}
