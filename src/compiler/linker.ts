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
  type ValueType,
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
  const indexes = units.map((unit) => new UnitIndex(unit.info));
  const places = new Map(units.map(({ name }, place) => [name, place]));
  const hostImports: { module: number; importIndex: number }[] = [];
  const linked: { imports: ResolvedImport[]; sizeChecks: SizeCheck[] }[] = [];
  for (const [module, unit] of units.entries()) {
    const sizeChecks: SizeCheck[] = [];
    const imports = unit.info.imports.map((entry, importIndex): ResolvedImport => {
      const wanted = Object.hasOwn(unit.link, entry.module) ? unit.link[entry.module] : entry.module;
      const source = places.get(wanted as string);
      if (source === module && Object.hasOwn(unit.link, entry.module)) {
        throw failed(unit, entry, "a module cannot be linked to itself");
      }
      if (source === undefined || source === module) {
        return hostImport(unit, entry, module, importIndex, hostImports);
      }
      if (source > module) {
        throw failed(unit, entry, `the module '${wanted}' comes later in the list; put it before`);
      }
      const exportIndex = indexes[source]?.exports.get(entry.name);
      if (exportIndex === undefined) {
        throw failed(unit, entry, `unknown import: '${wanted}' exports no '${entry.name}'`);
      }
      const check = matchTypes({ units, indexes, linked }, unit, entry, { module: source, exportIndex });
      if (check) sizeChecks.push({ importIndex, ...check });
      return { from: "module", module: source, exportIndex };
    });
    linked.push({ imports, sizeChecks });
  }
  if (hostImports.length > BC_IMPORTS_MAX) {
    throw unsupported(`more than ${BC_IMPORTS_MAX} functions are imported from the host`);
  }
  return { ...placeMemories({ units, indexes, linked }), hostImports };
}

/** What is looked up for each import, of which a module can have a million. */
class UnitIndex {
  /** Places of exports by name. */
  readonly exports: ReadonlyMap<string, number>;
  /** For each kind the places of its imports among all imports. */
  readonly imports: Readonly<Record<ExternalKind, readonly number[]>>;

  constructor(info: ModuleInfo) {
    this.exports = new Map(info.exports.map(({ name }, place) => [name, place]));
    const imports: Record<ExternalKind, number[]> = { func: [], table: [], memory: [], global: [] };
    info.imports.forEach(({ kind }, place) => {
      imports[kind].push(place);
    });
    this.imports = imports;
  }
}

/** What is known while linking. */
interface Linking {
  readonly units: readonly LinkUnit[];
  readonly indexes: readonly UnitIndex[];
  /** The modules up to the one that is being linked. */
  readonly linked: readonly { readonly imports: ResolvedImport[]; readonly sizeChecks: SizeCheck[] }[];
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
function placeMemories(linking: Linking): Pick<LinkPlan, "modules" | "memories"> {
  const { units, linked } = linking;
  const originsOf = (module: number): Origin[] =>
    (units[module] as LinkUnit).info.memories.map((_, index) =>
      originOf(linking, "memory", { module, index }),
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
function originOf({ units, indexes, linked }: Linking, kind: ExternalKind, start: Origin): Origin {
  let at = start;
  for (;;) {
    const info = (units[at.module] as LinkUnit).info;
    if (at.index >= info.imported[kind]) return at;
    const importIndex = indexes[at.module]?.imports[kind][at.index];
    const resolved = linked[at.module]?.imports[importIndex ?? -1];
    if (resolved?.from !== "module") return at;
    const exported = (units[resolved.module] as LinkUnit).info.exports[resolved.exportIndex] as ExportInfo;
    at = { module: resolved.module, index: exported.index };
  }
}

/** Import matching (WebAssembly 3.2.7.3, 4.5.4). @returns what instantiation has to check, if the answer depends on growth */
function matchTypes(
  linking: Linking,
  unit: LinkUnit,
  entry: ImportInfo,
  target: { readonly module: number; readonly exportIndex: number },
): Omit<SizeCheck, "importIndex"> | undefined {
  const { units } = linking;
  const exported = (units[target.module] as LinkUnit).info.exports[target.exportIndex] as ExportInfo;
  if (exported.kind !== entry.kind) {
    throw failed(unit, entry, `incompatible import type: it is a ${exported.kind}, not a ${entry.kind}`);
  }
  const origin = originOf(linking, entry.kind, { module: target.module, index: exported.index });
  const info = (units[origin.module] as LinkUnit).info;
  switch (entry.kind) {
    case "func": {
      const have = functionTypeOf(info, origin.index);
      if (isSame(have.params, entry.type.params) && isSame(have.results, entry.type.results))
        return undefined;
      throw failed(
        unit,
        entry,
        `incompatible import type: it is ${spellType(have)}, not ${spellType(entry.type)}`,
      );
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
    const most = have.max === undefined ? "it has no maximum" : `its maximum is ${have.max}`;
    throw failed(unit, entry, `incompatible import type: ${most}, and at most ${want.max} is asked for`);
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

const isSame = (a: readonly ValueType[], b: readonly ValueType[]): boolean =>
  a.length === b.length && a.every((type, i) => type === b[i]);

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
