/**
 * The C source that ties the modules of an image to the guest runtime and to each other: entries for what the host may call, stubs that call host
 * imports out through their ports, the order of instantiation, table capacities, the I/O permission bitmap. All names in it are ours (see
 * canonical-module.ts).
 */
import { BC_PORT_DONE, BC_PORT_GROW, BC_PORT_IMPORT_BASE, BC_PORT_READY, BC_PORT_TRAP } from "../abi.ts";
import { WASI_MODULES } from "../wasi-modules.ts";
import { exportName, importModule, importName, moduleName } from "./canonical-module.ts";
import type { Entry, EntryList } from "./entries.ts";
import type { LinkPlan, LinkUnit, SizeCheck } from "./linker.ts";
import { COSTS } from "./stretches.ts";
import {
  type FunctionType,
  functionTypeOf,
  type GlobalType,
  type ImportInfo,
  type ValueType,
} from "./wasm-reader.ts";

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

const load = (type: ValueType, slot: number): string => {
  switch (type) {
    case "v128":
      return `bc_load_v128(&slots[${slot}])`;
    case "funcref":
      return `bc_funcref_from_host(slots[${slot}].u64)`;
    case "externref":
      return `(wasm_rt_externref_t)slots[${slot}].u64`;
    default:
      return `slots[${slot}].${{ i32: "u32", i64: "u64", f32: "f32", f64: "f64" }[type]}`;
  }
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
    case "funcref":
      return `slots[${slot}].u64 = bc_funcref_to_host(${value});`;
    case "externref":
      return `slots[${slot}].u64 = (u64)${value};`;
    default:
      return `slots[${slot}].${type === "i64" ? "u64" : "f64"} = ${value};`;
  }
};

function resultType(type: FunctionType): string {
  if (type.results.length === 0) return "void";
  if (type.results.length === 1) return C_TYPE[type.results[0] as ValueType];
  return `struct wasm_multi_${type.results.map((result) => MEMBER[result]).join("")}`;
}

const instance = (module: number): string => `instance_${module}`;
const exported = (module: number, exportIndex: number): string =>
  `w2c_${moduleName(module)}_${exportName(exportIndex)}`;
const entryName = (entry: Entry): string =>
  entry.kind === "instantiate"
    ? `instantiate_${entry.module}`
    : `${entry.kind}_${entry.module}_${entry.exportIndex}`;

function callEntry(name: string, callee: string, self: string, type: FunctionType): string {
  const args = type.params.map((param, slot) => `, ${load(param, slot)}`).join("");
  const call = `${callee}(&${self}${args})`;
  const stores =
    type.results.length === 1
      ? [store(type.results[0] as ValueType, 0, "result")]
      : type.results.map((result, i) => store(result, i, `result.${MEMBER[result]}${i}`));
  const body =
    type.results.length === 0
      ? `${call};`
      : `${resultType(type)} result = ${call};\n  ${stores.join("\n  ")}`;
  return `static void ${name}(bc_slot* slots) {\n  (void)slots;\n  ${body}\n}\n`;
}

function globalEntry(entry: Entry, callee: string, self: string, type: GlobalType): string {
  const place = `*${callee}(&${self})`;
  const body =
    entry.kind === "set"
      ? `${place} = ${load(type.type, 0)};`
      : `${C_TYPE[type.type]} value = ${place};\n  ${store(type.type, 0, "value")}`;
  return `static void ${entryName(entry)}(bc_slot* slots) {\n  ${body}\n}\n`;
}

function entrySource(entry: Entry, units: readonly LinkUnit[]): string {
  // Instantiation has its functions already.
  if (entry.kind === "instantiate") return "";
  const info = (units[entry.module] as LinkUnit).info;
  const target = info.exports[entry.exportIndex] as { index: number };
  const callee = exported(entry.module, entry.exportIndex);
  const self = instance(entry.module);
  return entry.kind === "call"
    ? callEntry(entryName(entry), callee, self, functionTypeOf(info, target.index))
    : globalEntry(entry, callee, self, info.globals[target.index] as GlobalType);
}

/** WASI functions that guest-stubs/answers.c, start.c, output.c and input.c may answer without an exit: how it is asked, with the parameters `p0`, `p1`, …. */
const ANSWERED: ReadonlyMap<string, readonly [type: string, call: string]> = new Map([
  ["clock_time_get", ["i32 i64 i32 -> i32", "bc_clock_time_get(memory, p0, p2)"]],
  ["random_get", ["i32 i32 -> i32", "bc_random_get(memory, p0, p1)"]],
  ["args_sizes_get", ["i32 i32 -> i32", "bc_args_sizes_get(memory, p0, p1)"]],
  ["args_get", ["i32 i32 -> i32", "bc_args_get(memory, p0, p1)"]],
  ["environ_sizes_get", ["i32 i32 -> i32", "bc_environ_sizes_get(memory, p0, p1)"]],
  ["environ_get", ["i32 i32 -> i32", "bc_environ_get(memory, p0, p1)"]],
  ["fd_prestat_get", ["i32 i32 -> i32", "bc_fd_prestat_get(memory, p0, p1)"]],
  ["fd_prestat_dir_name", ["i32 i32 i32 -> i32", "bc_fd_prestat_dir_name(memory, p0, p1, p2)"]],
  ["fd_fdstat_get", ["i32 i32 -> i32", "bc_fd_fdstat_get(memory, p0, p1)"]],
  ["fd_read", ["i32 i32 i32 i32 -> i32", "bc_fd_read(memory, p0, p1, p2, p3)"]],
  ["fd_write", ["i32 i32 i32 i32 -> i32", "bc_fd_write(memory, p0, p1, p2, p3)"]],
]);

/** C that answers a host import in the guest where that is possible, or nothing. @param memory place of the importing module's memory */
function answerInGuest(entry: FunctionImport, memory: number | undefined): string {
  const answered = WASI_MODULES.has(entry.module) ? ANSWERED.get(entry.name) : undefined;
  const type = [...entry.type.params, "->", ...entry.type.results].join(" ");
  if (answered?.[0] !== type || memory === undefined) return "";
  return `  const wasm_rt_memory_t* memory = bc_memories[${memory}];\n  u32 answer = ${answered[1]};\n  if (answer != BC_NO_ANSWER) return answer;\n`;
}

type FunctionImport = Extract<ImportInfo, { kind: "func" }>;

function importStub(
  importer: number,
  importIndex: number,
  port: number,
  entry: FunctionImport,
  memory: number | undefined,
): string {
  const { type } = entry;
  const from = importModule(importer);
  const params = type.params.map((param, i) => `, ${C_TYPE[param]} p${i}`).join("");
  const head = `${resultType(type)} w2c_${from}_${importName(importIndex)}(struct w2c_${from}* unused${params})`;
  const stores = type.params.map((param, i) => `  ${store(param, i, `p${i}`)}\n`).join("");
  let tail = "";
  if (type.results.length === 1) tail = `  return ${load(type.results[0] as ValueType, 0)};\n`;
  if (type.results.length > 1) {
    const members = type.results.map((result, i) => `.${MEMBER[result]}${i} = ${load(result, i)}`).join(", ");
    tail = `  return (${resultType(type)}){${members}};\n`;
  }
  // noinline: a closed port faults inside this function, and the backtrace should say which import it was.
  return `__attribute__((noinline)) ${head} {\n  (void)unused;\n  bc_slot* slots = bc_mailbox_page.slots;\n  (void)slots;\n  BC_PAY_CHECKED(${COSTS.hostCall});\n${answerInGuest(entry, memory)}${stores}  bc_host_call(${BC_PORT_IMPORT_BASE + port});\n${tail}}\n`;
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

/** The instances that wasm2c's function of instantiation wants, in the order of its own header. */
function instanceArguments(module: number, header: string): string {
  const name = moduleName(module);
  const signature = new RegExp(`void wasm2c_${name}_instantiate\\(w2c_${name}\\*([^)]*)\\);`).exec(header);
  if (!signature) throw new RangeError("wasm2c's header declares no function of instantiation");
  return [...(signature[1] as string).matchAll(/struct w2c_(h\d+(?:q(\d+))?)\*/g)]
    .map(([, type, exporter]) =>
      exporter === undefined ? `, (struct w2c_${type}*)0` : `, (void*)&${instance(Number(exporter))}`,
    )
    .join("");
}

function sizeCheck(module: number, check: SizeCheck, plan: LinkPlan, unit: LinkUnit): string {
  const entry = unit.info.imports[check.importIndex];
  const resolved = plan.modules[module]?.imports[check.importIndex];
  if (!entry || resolved?.from !== "module") throw new RangeError("only imports from modules are checked");
  const call = `${exported(resolved.module, resolved.exportIndex)}(&${instance(resolved.module)})`;
  return `  if (${call}->${check.kind === "memory" ? "pages" : "size"} < ${check.minimum}u) wasm_rt_trap(BC_TRAP_UNLINKABLE);\n`;
}

function instantiation(
  module: number,
  plan: LinkPlan,
  unit: LinkUnit,
  header: string,
  firstTable: number,
): string {
  const name = moduleName(module);
  const checks = (plan.modules[module]?.sizeChecks ?? []).map((check) =>
    sizeCheck(module, check, plan, unit),
  );
  const own = (plan.modules[module]?.memories ?? []).slice(unit.info.imported.memory);
  const places = own.length === 0 ? "(const uint32_t*)0" : `(const uint32_t[]){${own.join(", ")}}`;
  return `static w2c_${name} ${instance(module)};
static void instantiate_${module}(bc_slot* slots) {
  static bool begun;
  (void)slots;
  if (begun) wasm_rt_trap(BC_TRAP_BAD_REQUEST);
  begun = true;
${checks.join("")}  bc_begin_instance(${places}, ${firstTable});
  wasm2c_${name}_instantiate(&${instance(module)}${instanceArguments(module, header)});
}
`;
}

export interface GlueInput {
  readonly units: readonly LinkUnit[];
  readonly plan: LinkPlan;
  readonly entries: EntryList;
  /** wasm2c's header of each module. */
  readonly headers: readonly string[];
  /** Whether booting instantiates all modules. */
  readonly instantiateAtBoot: boolean;
  /** Elements reserved for each table that a module defines, by module. */
  readonly tableCapacities: readonly (readonly number[])[];
}

export function glueSource(input: GlueInput): string {
  const { units, plan, entries, headers, tableCapacities } = input;
  const capacities = tableCapacities.flat();
  const firstTable = (module: number): number => tableCapacities.slice(0, module).flat().length;
  const stubs = plan.hostImports.map(({ module, importIndex }, port) => {
    const entry = units[module]?.info.imports[importIndex];
    return entry?.kind === "func"
      ? importStub(module, importIndex, port, entry, plan.modules[module]?.memories[0])
      : "";
  });
  const starts = input.instantiateAtBoot ? units.map((_, module) => `instantiate_${module}(0);`) : [];
  return `#include "answers.h"
#include "barecell-guest.h"
#include "fuel.h"
${units.map((_, module) => `#include "${moduleName(module)}.h"\n`).join("")}wasm_rt_memory_t* bc_memories[${Math.max(1, plan.memories.length)}];
${helpers(units)}${stubs.join("")}
${units.map((unit, i) => instantiation(i, plan, unit, headers[i] ?? "", firstTable(i))).join("")}
void bc_instantiate(void) { ${starts.join(" ")} }
${entries.list.map((entry) => entrySource(entry, units)).join("")}
void (*const bc_entries[])(bc_slot*) = {${entries.list.map(entryName).join(", ") || "0"}};
const uint32_t bc_entry_count = ${entries.list.length};
const uint32_t bc_table_capacities[] = {${capacities.join(", ") || "0"}};
const uint32_t bc_table_count = ${capacities.length};
__attribute__((section(".boot.iopb"), used, aligned(1))) unsigned char bc_io_bitmap[] = {${[...ioBitmap(plan.hostImports.length)].join(",")}};
`;
}

/** Which names of imports the linker has to make equal to exports of other modules. */
export function linkedSymbols(units: readonly LinkUnit[], plan: LinkPlan): string {
  return units
    .flatMap((unit, importer) =>
      unit.info.imports.map((_, importIndex) => {
        const resolved = plan.modules[importer]?.imports[importIndex];
        if (resolved?.from !== "module") return "";
        const name = `w2c_${importModule(importer, resolved.module)}_${importName(importIndex)}`;
        return `${name} = ${exported(resolved.module, resolved.exportIndex)};\n`;
      }),
    )
    .join("");
}

/** Whether values of a type cross the boundary between host and guest. */
function crosses(units: readonly LinkUnit[], type: ValueType): boolean {
  return units.some(
    ({ info }) =>
      info.types.some(({ params, results }) => params.includes(type) || results.includes(type)) ||
      info.exports.some(({ kind, index }) => kind === "global" && info.globals[index]?.type === type),
  );
}

function helpers(units: readonly LinkUnit[]): string {
  const vector = crosses(units, "v128")
    ? "static inline v128 bc_load_v128(const bc_slot* slot) { v128 value; __builtin_memcpy(&value, slot, 16); return value; }\n"
    : "";
  // A reference to a function leaves the guest as its place in a list of all that ever left; equal ones share a place, so there are never more than there
  // are functions, once for each module that can make a reference to them.
  const functions = units.reduce((sum, { info }) => sum + info.functions.length, 0);
  const references = crosses(units, "funcref")
    ? `#define BC_REFERENCES ${functions}\n#include "references.h"\n`
    : "";
  return vector + references;
}

/** How many slots the mailbox needs: the most values that any call carries, in or out. */
export function mailboxSlots(units: readonly LinkUnit[]): number {
  return units
    .flatMap(({ info }) => info.types)
    .reduce((most, type) => Math.max(most, type.params.length, type.results.length), 8);
}
