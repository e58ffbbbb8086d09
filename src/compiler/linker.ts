/**
 * Resolves the imports of several modules against each other, in the order in which they will be instantiated (WebAssembly 4.5.4): each import is
 * either an export of an earlier module, or a function of the host's. What is decided here is fixed in the image; a VM links nothing.
 */
import { BC_IMPORTS_MAX, BC_MEMORIES_MAX } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { unsupported } from "./validate.ts";
import {
  type ExportInfo,
  type ExternalKind,
  type FunctionType,
  functionTypeOf,
  type GlobalType,
  type ImportInfo,
  type Limits,
  type ModuleInfo,
  type TableType,
} from "./wasm-reader.ts";

/** One module among those that are linked. */
export interface LinkUnit {
  readonly name: string;
  readonly info: ModuleInfo;
  /** Names of import modules that stand for another module of the set. */
  readonly link: Readonly<Record<string, string>>;
}

/** What stands behind an import: a port (its place in the list of host imports), or an export of an earlier module. */
export type ResolvedImport =
  | { readonly from: "host"; readonly port: number }
  | { readonly from: "module"; readonly module: number; readonly exportIndex: number };

/** An imported memory or table whose size only instantiation knows. `minimum` is in pages or elements. */
export interface SizeCheck {
  readonly importIndex: number;
  readonly kind: "memory" | "table";
  readonly minimum: number;
}

export interface LinkedModule {
  readonly imports: readonly ResolvedImport[];
  /** For each memory of the module's index space its place among all memories. */
  readonly memories: readonly number[];
  readonly sizeChecks: readonly SizeCheck[];
}

/** Where something is defined: a module and an index in its index space. */
interface Origin {
  readonly module: number;
  readonly index: number;
}

export interface LinkPlan {
  readonly modules: readonly LinkedModule[];
  /** All memories, by their place in the VM. */
  readonly memories: readonly Origin[];
  /** Imports that the host is asked for, in port order. */
  readonly hostImports: readonly { readonly module: number; readonly importIndex: number }[];
}

/** The most that a memory (pages) or table (elements) without a maximum can have. */
const CEILING = { memory: 65_536, table: 2 ** 32 - 1 } as const;

/**
 * @throws BARECELL_LINK_FAILED for an import that an earlier module should satisfy and does not; BARECELL_MODULE_UNSUPPORTED for a memory, table or
 *   global that the host is asked for, or for too many imports or memories
 */
export function linkModules(units: readonly LinkUnit[]): LinkPlan {
  const hostImports: { module: number; importIndex: number }[] = [];
  const linked: { imports: ResolvedImport[]; sizeChecks: SizeCheck[] }[] = [];
  for (const [module, unit] of units.entries()) {
    const sizeChecks: SizeCheck[] = [];
    const imports = unit.info.imports.map((entry, importIndex): ResolvedImport => {
      const wanted = Object.hasOwn(unit.link, entry.module) ? unit.link[entry.module] : entry.module;
      const source = units.findIndex((other) => other.name === wanted);
      if (source < 0 || source === module) return hostImport(unit, entry, module, importIndex, hostImports);
      if (source > module) {
        throw failed(unit, entry, `the module '${wanted}' comes later in the list; put it before`);
      }
      const exportIndex = (units[source] as LinkUnit).info.exports.findIndex(
        ({ name }) => name === entry.name,
      );
      if (exportIndex < 0)
        throw failed(unit, entry, `unknown import: '${wanted}' exports no '${entry.name}'`);
      const check = matchTypes(units, linked, unit, entry, { module: source, exportIndex });
      if (check) sizeChecks.push({ importIndex, ...check });
      return { from: "module", module: source, exportIndex };
    });
    linked.push({ imports, sizeChecks });
  }
  if (hostImports.length > BC_IMPORTS_MAX) {
    throw unsupported(`more than ${BC_IMPORTS_MAX} functions are imported from the host`);
  }
  return { ...placeMemories(units, linked), hostImports };
}

function hostImport(
  unit: LinkUnit,
  entry: ImportInfo,
  module: number,
  importIndex: number,
  hostImports: { module: number; importIndex: number }[],
): ResolvedImport {
  if (entry.kind !== "func") {
    throw unsupported(
      `'${unit.name}' imports the ${entry.kind} '${entry.module}.${entry.name}', and the host gives only functions; compile it together with a module named '${entry.module}' that exports it`,
    );
  }
  return { from: "host", port: hostImports.push({ module, importIndex }) - 1 };
}

/** Memory 0 of the VM, the one without a base register, is the main module's; the others follow in order of definition. */
function placeMemories(
  units: readonly LinkUnit[],
  linked: readonly { imports: ResolvedImport[]; sizeChecks: SizeCheck[] }[],
): Pick<LinkPlan, "modules" | "memories"> {
  const originsOf = (module: number): Origin[] =>
    (units[module] as LinkUnit).info.memories.map((_, index) =>
      originOf(units, linked, "memory", { module, index }),
    );
  const memories: Origin[] = [];
  const placeOf = (origin: Origin): number => {
    const known = memories.findIndex(
      ({ module, index }) => module === origin.module && index === origin.index,
    );
    return known >= 0 ? known : memories.push(origin) - 1;
  };
  const main = originsOf(units.length - 1)[0];
  if (main) placeOf(main);
  const modules = linked.map((module, i) => ({ ...module, memories: originsOf(i).map(placeOf) }));
  if (memories.length > BC_MEMORIES_MAX) {
    throw unsupported(`it has ${memories.length} linear memories, and the most is ${BC_MEMORIES_MAX}`);
  }
  return { modules, memories };
}

/** Follows imports that are exported again to the module that defines the thing. */
function originOf(
  units: readonly LinkUnit[],
  linked: readonly { readonly imports: readonly ResolvedImport[] }[],
  kind: ExternalKind,
  start: Origin,
): Origin {
  let at = start;
  for (;;) {
    const info = (units[at.module] as LinkUnit).info;
    if (at.index >= info.imported[kind]) return at;
    const importIndex = nthImport(info, kind, at.index);
    const resolved = linked[at.module]?.imports[importIndex];
    if (resolved?.from !== "module") return at;
    const exported = (units[resolved.module] as LinkUnit).info.exports[resolved.exportIndex] as ExportInfo;
    at = { module: resolved.module, index: exported.index };
  }
}

/** Place among all imports of the import that is number `index` of its kind. */
export function nthImport(info: ModuleInfo, kind: ExternalKind, index: number): number {
  let left = index;
  return info.imports.findIndex((entry) => entry.kind === kind && left-- === 0);
}

/** Import matching (WebAssembly 3.2.7.3, 4.5.4). @returns what instantiation has to check, if the answer depends on growth */
function matchTypes(
  units: readonly LinkUnit[],
  linked: readonly { readonly imports: readonly ResolvedImport[] }[],
  unit: LinkUnit,
  entry: ImportInfo,
  target: { readonly module: number; readonly exportIndex: number },
): Omit<SizeCheck, "importIndex"> | undefined {
  const exported = (units[target.module] as LinkUnit).info.exports[target.exportIndex] as ExportInfo;
  if (exported.kind !== entry.kind) {
    throw failed(unit, entry, `incompatible import type: it is a ${exported.kind}, not a ${entry.kind}`);
  }
  const origin = originOf(units, linked, entry.kind, { module: target.module, index: exported.index });
  const info = (units[origin.module] as LinkUnit).info;
  switch (entry.kind) {
    case "func": {
      const [have, want] = [spellType(functionTypeOf(info, origin.index)), spellType(entry.type)];
      if (have !== want) throw failed(unit, entry, `incompatible import type: it is ${have}, not ${want}`);
      return undefined;
    }
    case "global": {
      const [have, want] = [spellGlobal(info.globals[origin.index] as GlobalType), spellGlobal(entry.type)];
      if (have !== want) throw failed(unit, entry, `incompatible import type: it is ${have}, not ${want}`);
      return undefined;
    }
    case "table": {
      const have = info.tables[origin.index] as TableType;
      if (have.element !== entry.type.element) {
        throw failed(unit, entry, `incompatible import type: its elements are ${have.element}s`);
      }
      return matchLimits(unit, entry, "table", have, entry.type);
    }
    case "memory":
      return matchLimits(unit, entry, "memory", info.memories[origin.index] as Limits, entry.type);
  }
}

function matchLimits(
  unit: LinkUnit,
  entry: ImportInfo,
  kind: "memory" | "table",
  have: Limits,
  want: Limits,
): Omit<SizeCheck, "importIndex"> | undefined {
  const most = have.max ?? CEILING[kind];
  if (want.max !== undefined && (have.max === undefined || have.max > want.max)) {
    throw failed(
      unit,
      entry,
      `incompatible import type: its maximum of ${have.max ?? "none"} is above the ${want.max} that is asked for`,
    );
  }
  if (want.min > most) {
    throw failed(
      unit,
      entry,
      `incompatible import type: it cannot grow to the ${want.min} that is asked for, but to ${most}`,
    );
  }
  return want.min > have.min ? { kind, minimum: want.min } : undefined;
}

const spellType = (type: FunctionType): string =>
  `(${type.params.join(", ")}) -> (${type.results.join(", ")})`;

const spellGlobal = (type: GlobalType): string =>
  `a ${type.mutable ? "mutable" : "constant"} global of type ${type.type}`;

function failed(unit: LinkUnit, entry: ImportInfo, why: string): BarecellError {
  return new BarecellError(
    "BARECELL_LINK_FAILED",
    `'${unit.name}' cannot import '${entry.module}.${entry.name}': ${why}`,
  );
}
