/** What an image says about itself: the JSON in its note. Read from a file, so every field is checked. */
import {
  BC_ABI_VERSION,
  BC_IMPORTS_MAX,
  BC_LINEAR_MAX_BYTES,
  BC_MEMORIES_MAX,
  BC_WASM_PAGE_SIZE,
} from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { TARGET_CPUS, type TargetCpu } from "./target-cpu.ts";

/** A WebAssembly value type. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128" | "funcref" | "externref";
const VALUE_TYPES: ReadonlySet<string> = new Set([
  "i32",
  "i64",
  "f32",
  "f64",
  "v128",
  "funcref",
  "externref",
]);

/** A function's type. */
export interface Signature {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/**
 * One export of a module, in the module's order. An entry is something that the host can call in the guest, by its place in the image's list of
 * entries: a function, the reading or the writing of a global, the instantiation of a module.
 */
export type ImageExport = { readonly name: string } & (
  | {
      readonly kind: "func";
      readonly type: Signature;
      /** Place in the module's function index space. */
      readonly functionIndex: number;
      readonly entry: number;
    }
  | {
      readonly kind: "global";
      readonly type: ValueType;
      readonly mutable: boolean;
      readonly getEntry: number;
      /** Null for a constant. */
      readonly setEntry: number | null;
    }
  /** `memory` is the place in the image's list of memories. */
  | { readonly kind: "memory"; readonly memory: number }
  | { readonly kind: "table" }
);

/** One function that the image imports from its host; its port is BC_PORT_IMPORT_BASE + its place in the list. */
export interface ImageImport {
  readonly module: string;
  readonly name: string;
  readonly type: Signature;
  /** Which of the image's modules imports it, its place there among all imports, and in the function index space. */
  readonly importer: number;
  readonly importIndex: number;
  readonly functionIndex: number;
}

/** A module of an image, as it was instantiated into it. */
export interface ImageModule {
  /** For people, and for the other modules' imports. */
  readonly name: string;
  /** SHA-256 of the file, hexadecimal. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly exports: readonly ImageExport[];
  /** Its linear memory 0, its own or an imported one, as a place in the image's list of memories; null if it has none. */
  readonly memory: number | null;
  /** Whether instantiating it runs code of the module (a start function). */
  readonly hasStart: boolean;
  /** Names of functions whose symbol does not spell them, by function index. */
  readonly functionNames: Readonly<Record<string, string>>;
  /** The modules that it imports from, by their places. */
  readonly importsFrom: readonly number[];
  /** The entry that instantiates it, or null if booting does. */
  readonly instantiateEntry: number | null;
}

/** A linear memory of an image, bytes; `maxBytes` is null if no maximum is declared. */
export interface ImageMemory {
  readonly minBytes: number;
  readonly maxBytes: number | null;
}

export interface Manifest {
  readonly abiVersion: number;
  /** What made the image: version of barecell, the C compiler and its flags. */
  readonly producer: {
    readonly barecell: string;
    readonly compiler: string;
    readonly flags: readonly string[];
  };
  readonly targetCpu: TargetCpu;
  /** Whether the code counts fuel. */
  readonly metering: boolean;
  /** In the order in which they are instantiated. The last one is the main module. */
  readonly modules: readonly ImageModule[];
  readonly imports: readonly ImageImport[];
  /** All linear memories; number 0 lies at address 0. */
  readonly memories: readonly ImageMemory[];
  /** In elements; `capacity` is what the image reserves and growth can reach. */
  readonly tables: readonly { readonly element: string; readonly min: number; readonly capacity: number }[];
  /** How many entries there are. */
  readonly entryCount: number;
  /** Null: booting instantiates the modules. Otherwise the image is a VM's state after that. */
  readonly snapshot: SnapshotFacts | null;
}

/** What of a snapshot is not in its memory. */
export interface SnapshotFacts {
  /** Of WASI's monotonic clock when it was taken: the guest may remember that, so it must not see an earlier time. */
  readonly monotonicNs: number;
  /** The modules whose `_initialize` ran, by their places. */
  readonly initialized: readonly number[];
}

/** The module whose exports are the image's own. */
export function mainModule(manifest: Manifest): ImageModule {
  const last = manifest.modules.at(-1);
  if (last === undefined) throw bad("modules");
  return last;
}

/** @throws BARECELL_IMAGE_INVALID naming the field; BARECELL_IMAGE_VERSION if it is of another ABI */
export function parseManifest(json: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (cause) {
    throw new BarecellError("BARECELL_IMAGE_INVALID", "the image's manifest is not JSON", { cause });
  }
  const root = record(value, "manifest");
  const abiVersion = integer(root["abiVersion"], "abiVersion");
  if (abiVersion !== BC_ABI_VERSION) {
    throw new BarecellError(
      "BARECELL_IMAGE_VERSION",
      `the image is of ABI version ${abiVersion}, and this barecell runs version ${BC_ABI_VERSION}; compile the module again`,
    );
  }
  const producer = record(root["producer"], "producer");
  const targetCpu = text(root["targetCpu"], "targetCpu");
  if (!TARGET_CPUS.includes(targetCpu as TargetCpu)) throw bad("targetCpu");
  if (typeof root["metering"] !== "boolean") throw bad("metering");
  // The mailbox has 32 bits for the number of an entry.
  const entryCount = below(root["entryCount"], 2 ** 32, "entryCount");
  const memories = list(root["memories"], "memories").map(parseMemory);
  if (memories.length > BC_MEMORIES_MAX) throw bad("memories");
  const bounds = { entryCount, memoryCount: memories.length };
  const modules = list(root["modules"], "modules").map((entry, place) => parseModule(entry, place, bounds));
  if (modules.length === 0) throw bad("modules");
  if (new Set(modules.map(({ name }) => name)).size < modules.length) throw bad("modules.name");
  const imports = list(root["imports"], "imports");
  if (imports.length > BC_IMPORTS_MAX) throw bad("imports");
  return {
    abiVersion,
    producer: {
      barecell: text(producer["barecell"], "producer.barecell"),
      compiler: text(producer["compiler"], "producer.compiler"),
      flags: list(producer["flags"], "producer.flags").map((flag) => text(flag, "producer.flags")),
    },
    targetCpu: targetCpu as TargetCpu,
    metering: root["metering"],
    modules,
    imports: imports.map((entry) => {
      const fields = record(entry, "imports");
      return {
        module: text(fields["module"], "imports.module"),
        name: text(fields["name"], "imports.name"),
        type: signature(fields["type"]),
        importer: below(fields["importer"], modules.length, "imports.importer"),
        importIndex: integer(fields["importIndex"], "imports.importIndex"),
        functionIndex: integer(fields["functionIndex"], "imports.functionIndex"),
      };
    }),
    memories,
    tables: list(root["tables"], "tables").map((entry) => {
      const fields = record(entry, "tables");
      return {
        element: referenceType(fields["element"]),
        min: integer(fields["min"], "tables.min"),
        capacity: integer(fields["capacity"], "tables.capacity"),
      };
    }),
    entryCount,
    snapshot: parseSnapshot(root["snapshot"], modules.length),
  };
}

function parseSnapshot(value: unknown, moduleCount: number): SnapshotFacts | null {
  if (value === null || value === undefined) return null;
  const fields = record(value, "snapshot");
  return {
    monotonicNs: integer(fields["monotonicNs"], "snapshot.monotonicNs"),
    initialized: list(fields["initialized"], "snapshot.initialized").map((place) =>
      below(place, moduleCount, "snapshot.initialized"),
    ),
  };
}

interface Bounds {
  readonly entryCount: number;
  readonly memoryCount: number;
}

function parseModule(value: unknown, place: number, bounds: Bounds): ImageModule {
  const fields = record(value, "modules");
  return {
    name: text(fields["name"], "modules.name"),
    digest: digest(fields["digest"]),
    sizeBytes: integer(fields["sizeBytes"], "modules.sizeBytes"),
    exports: list(fields["exports"], "exports").map((entry) => parseExport(entry, bounds)),
    memory: fields["memory"] === null ? null : below(fields["memory"], bounds.memoryCount, "modules.memory"),
    hasStart: fields["hasStart"] === true,
    functionNames: Object.fromEntries(
      Object.entries(record(fields["functionNames"], "functionNames")).map(([index, name]) => [
        index,
        text(name, "functionNames"),
      ]),
    ),
    importsFrom: list(fields["importsFrom"], "importsFrom").map((other) =>
      below(other, place, "importsFrom"),
    ),
    instantiateEntry:
      fields["instantiateEntry"] === null
        ? null
        : below(fields["instantiateEntry"], bounds.entryCount, "instantiateEntry"),
  };
}

function parseMemory(value: unknown): ImageMemory {
  const fields = record(value, "memories");
  const minBytes = integer(fields["minBytes"], "memories.minBytes");
  const maxBytes = fields["maxBytes"] === null ? null : integer(fields["maxBytes"], "memories.maxBytes");
  const most = maxBytes ?? BC_LINEAR_MAX_BYTES;
  if (minBytes > most || most > BC_LINEAR_MAX_BYTES) throw bad("memories");
  if (minBytes % BC_WASM_PAGE_SIZE !== 0 || most % BC_WASM_PAGE_SIZE !== 0) throw bad("memories");
  return { minBytes, maxBytes };
}

function parseExport(value: unknown, bounds: Bounds): ImageExport {
  const fields = record(value, "exports");
  const name = text(fields["name"], "exports.name");
  const entry = (field: string): number => below(fields[field], bounds.entryCount, `exports.${field}`);
  switch (fields["kind"]) {
    case "func":
      return {
        name,
        kind: "func",
        type: signature(fields["type"]),
        functionIndex: integer(fields["functionIndex"], "exports.functionIndex"),
        entry: entry("entry"),
      };
    case "global": {
      const mutable = fields["mutable"] === true;
      if (mutable !== (fields["setEntry"] !== null)) throw bad("exports.setEntry");
      return {
        name,
        kind: "global",
        type: valueType(fields["type"]),
        mutable,
        getEntry: entry("getEntry"),
        setEntry: mutable ? entry("setEntry") : null,
      };
    }
    case "memory":
      return { name, kind: "memory", memory: below(fields["memory"], bounds.memoryCount, "exports.memory") };
    case "table":
      return { name, kind: "table" };
    default:
      throw bad("exports.kind");
  }
}

function signature(value: unknown): Signature {
  const fields = record(value, "type");
  const types = (of: unknown): ValueType[] => list(of, "type").map(valueType);
  return { params: types(fields["params"]), results: types(fields["results"]) };
}

function valueType(value: unknown): ValueType {
  if (typeof value !== "string" || !VALUE_TYPES.has(value)) throw bad("type");
  return value as ValueType;
}

function referenceType(value: unknown): string {
  if (value !== "funcref" && value !== "externref") throw bad("tables.element");
  return value;
}

function digest(value: unknown): string {
  const hexadecimal = text(value, "modules.digest");
  if (!/^[0-9a-f]{64}$/.test(hexadecimal)) throw bad("modules.digest");
  return hexadecimal;
}

function bad(field: string): BarecellError {
  return new BarecellError("BARECELL_IMAGE_INVALID", `the image's manifest has a bad field '${field}'`);
}

function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(field);
  return value as Record<string, unknown>;
}

function list(value: unknown, field: string): unknown[] {
  if (!Array.isArray(value)) throw bad(field);
  return value;
}

function text(value: unknown, field: string): string {
  if (typeof value !== "string") throw bad(field);
  return value;
}

function integer(value: unknown, field: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw bad(field);
  return value;
}

function below(value: unknown, limit: number, field: string): number {
  const index = integer(value, field);
  if (index >= limit) throw bad(field);
  return index;
}
