/** What the image will say about itself: its manifest, and the capacity of its tables. */
import { createHash } from "node:crypto";
import { BC_ABI_VERSION, BC_WASM_PAGE_SIZE } from "../abi.ts";
import type { ImageExport, ImageModule, Manifest } from "../image/manifest.ts";
import { packageVersion } from "../version.ts";
import { symbolName } from "./canonical-module.ts";
import { COMMON_FLAGS, meteringFlags, moduleFlags, targetFlags } from "./cc.ts";
import type { EntryList } from "./entries.ts";
import type { LinkPlan } from "./linker.ts";
import type { LeveledOptions } from "./options.ts";
import type { CompileUnit } from "./sources.ts";
import { type ExportInfo, functionTypeOf, type ModuleInfo } from "./wasm-reader.ts";

/**
 * What each table that a module defines can grow to, by module. Where no instruction of any module grows tables, they keep their initial size.
 * @param generated wasm2c's sources
 */
export function tableCapacities(
  units: readonly CompileUnit[],
  generated: readonly string[],
  limit: number,
): number[][] {
  const grows = generated.some((source) => /wasm_rt_grow_(func|extern)ref_table\(/.test(source));
  return units.map(({ info }) =>
    info.tables
      .slice(info.imported.table)
      .map((table) => (grows ? Math.max(table.min, Math.min(table.max ?? limit, limit)) : table.min)),
  );
}

export function describeImage(
  units: readonly CompileUnit[],
  plan: LinkPlan,
  entries: EntryList,
  capacities: readonly (readonly number[])[],
  compiler: string,
  options: LeveledOptions,
  hasVectors: boolean,
): Manifest {
  const functionIndexes = units.map(({ info }) => functionIndexesOf(info));
  return {
    abiVersion: BC_ABI_VERSION,
    producer: {
      barecell: packageVersion,
      compiler,
      flags: [
        ...moduleFlags(options.level, hasVectors),
        ...targetFlags(options.targetCpu),
        ...meteringFlags(options.metering),
        ...COMMON_FLAGS,
      ],
    },
    targetCpu: options.targetCpu,
    metering: options.metering,
    modules: units.map((unit, module) => describeModule(unit, module, plan, entries)),
    imports: plan.hostImports.map(({ module, importIndex }) => {
      const entry = units[module]?.info.imports[importIndex];
      if (entry?.kind !== "func") throw new RangeError("a host import is no function");
      return {
        module: entry.module,
        name: entry.name,
        type: entry.type,
        importer: module,
        importIndex,
        functionIndex: functionIndexes[module]?.[importIndex] ?? 0,
      };
    }),
    memories: plan.memories.map(({ module, index }) => {
      const memory = units[module]?.info.memories[index];
      return {
        minBytes: (memory?.min ?? 0) * BC_WASM_PAGE_SIZE,
        maxBytes: memory?.max === undefined ? null : memory.max * BC_WASM_PAGE_SIZE,
      };
    }),
    tables: units.flatMap(({ info }, module) =>
      info.tables.slice(info.imported.table).map((table, i) => ({
        element: table.element,
        min: table.min,
        capacity: capacities[module]?.[i] ?? 0,
      })),
    ),
    entryCount: entries.list.length,
    snapshot: null,
  };
}

/** For each import its place in the function index space; for those that are no functions, that of the next one. */
function functionIndexesOf(info: ModuleInfo): number[] {
  let functions = 0;
  return info.imports.map(({ kind }) => (kind === "func" ? functions++ : functions));
}

function describeModule(
  { name, bytes, info }: CompileUnit,
  module: number,
  plan: LinkPlan,
  entries: EntryList,
): ImageModule {
  const memories = plan.modules[module]?.memories ?? [];
  return {
    name,
    digest: createHash("sha256").update(bytes).digest("hex"),
    sizeBytes: bytes.length,
    exports: info.exports.map((_, exportIndex) =>
      describeExport(info, module, exportIndex, memories, entries),
    ),
    memory: memories[0] ?? null,
    hasStart: info.start !== undefined,
    functionNames: describeNames(info),
    importsFrom: [
      ...new Set(
        plan.modules[module]?.imports.flatMap((resolved) =>
          resolved.from === "module" ? [resolved.module] : [],
        ),
      ),
    ],
    instantiateEntry: entries.placeOf({ kind: "instantiate", module }) ?? null,
  };
}

function describeExport(
  info: ModuleInfo,
  module: number,
  exportIndex: number,
  memories: readonly number[],
  entries: EntryList,
): ImageExport {
  const { name, kind, index } = info.exports[exportIndex] as ExportInfo;
  const place = (of: "call" | "get" | "set"): number | undefined =>
    entries.placeOf({ kind: of, module, exportIndex });
  switch (kind) {
    case "func":
      return {
        name,
        kind,
        type: functionTypeOf(info, index),
        functionIndex: index,
        entry: place("call") ?? 0,
      };
    case "global": {
      const type = info.globals[index];
      return {
        name,
        kind,
        type: type?.type ?? "i32",
        mutable: type?.mutable ?? false,
        getEntry: place("get") ?? 0,
        setEntry: place("set") ?? null,
      };
    }
    case "memory":
      return { name, kind, memory: memories[index] ?? 0 };
    case "table":
      return { name, kind };
  }
}

/** Names of functions whose symbol does not spell them. */
function describeNames(info: ModuleInfo): Record<string, string> {
  const names = new Map(info.functionNames);
  // A function without a name of its own goes by the name it is exported or imported under.
  for (const entry of info.exports) {
    if (entry.kind === "func" && !names.has(entry.index)) names.set(entry.index, entry.name);
  }
  const described: Record<string, string> = {};
  for (const [index, name] of names) {
    // As canonical-module.ts makes the symbol: of the function's own name, not of an export's.
    if (symbolName(info.functionNames.get(index), index) !== `${name}_f${index}`) described[index] = name;
  }
  return described;
}
