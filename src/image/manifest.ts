/** What an image says about itself: the JSON in its note. Read from a file, so every field is checked. */
import { BC_ABI_VERSION, BC_IMPORTS_MAX } from "../abi.ts";
import { BarecellError } from "../errors.ts";

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

/** One export of the module, in the module's order. */
export interface ImageExport {
  readonly name: string;
  readonly kind: "func" | "table" | "memory" | "global";
  /** Only for functions: the type, and the place in the function index space. */
  readonly type?: Signature;
  readonly functionIndex?: number;
}

/** One imported function; its port is BC_PORT_IMPORT_BASE + its place in the list. */
export interface ImageImport {
  readonly module: string;
  readonly name: string;
  readonly type: Signature;
}

export type TargetCpu = "x86-64-v2" | "x86-64-v3";
export const TARGET_CPUS: readonly TargetCpu[] = ["x86-64-v2", "x86-64-v3"];

export interface Manifest {
  readonly abiVersion: number;
  /** What made the image: version of barecell, the C compiler and its flags. */
  readonly producer: {
    readonly barecell: string;
    readonly compiler: string;
    readonly flags: readonly string[];
  };
  /** The module it was made from: a name for people, SHA-256 (hexadecimal) and size. */
  readonly module: { readonly name: string; readonly digest: string; readonly sizeBytes: number };
  readonly targetCpu: TargetCpu;
  readonly exports: readonly ImageExport[];
  readonly imports: readonly ImageImport[];
  /** Linear memory 0 in bytes; `maxBytes` null if the module declares no maximum. Null if it has no memory. */
  readonly memory: { readonly minBytes: number; readonly maxBytes: number | null } | null;
  /** In elements; `capacity` is what the image reserves and growth can reach. */
  readonly tables: readonly { readonly element: string; readonly min: number; readonly capacity: number }[];
  /** Whether starting runs code of the module (a start function). */
  readonly hasStart: boolean;
  /** Names of functions whose symbol does not spell them, by function index. */
  readonly functionNames: Readonly<Record<string, string>>;
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
  const module = record(root["module"], "module");
  const memory = root["memory"] === null ? null : record(root["memory"], "memory");
  const imports = list(root["imports"], "imports");
  if (imports.length > BC_IMPORTS_MAX) throw bad("imports");
  const targetCpu = text(root["targetCpu"], "targetCpu");
  if (!TARGET_CPUS.includes(targetCpu as TargetCpu)) throw bad("targetCpu");
  return {
    abiVersion,
    producer: {
      barecell: text(producer["barecell"], "producer.barecell"),
      compiler: text(producer["compiler"], "producer.compiler"),
      flags: list(producer["flags"], "producer.flags").map((flag) => text(flag, "producer.flags")),
    },
    module: {
      name: text(module["name"], "module.name"),
      digest: text(module["digest"], "module.digest"),
      sizeBytes: integer(module["sizeBytes"], "module.sizeBytes"),
    },
    targetCpu: targetCpu as TargetCpu,
    exports: list(root["exports"], "exports").map(parseExport),
    imports: imports.map((entry) => {
      const fields = record(entry, "imports");
      return {
        module: text(fields["module"], "imports.module"),
        name: text(fields["name"], "imports.name"),
        type: signature(fields["type"]),
      };
    }),
    memory: memory && {
      minBytes: integer(memory["minBytes"], "memory.minBytes"),
      maxBytes: memory["maxBytes"] === null ? null : integer(memory["maxBytes"], "memory.maxBytes"),
    },
    tables: list(root["tables"], "tables").map((entry) => {
      const fields = record(entry, "tables");
      return {
        element: text(fields["element"], "tables.element"),
        min: integer(fields["min"], "tables.min"),
        capacity: integer(fields["capacity"], "tables.capacity"),
      };
    }),
    hasStart: root["hasStart"] === true,
    functionNames: Object.fromEntries(
      Object.entries(record(root["functionNames"], "functionNames")).map(([index, name]) => [
        index,
        text(name, "functionNames"),
      ]),
    ),
  };
}

function parseExport(entry: unknown): ImageExport {
  const fields = record(entry, "exports");
  const kind = text(fields["kind"], "exports.kind");
  const name = text(fields["name"], "exports.name");
  if (kind === "func") {
    return {
      name,
      kind,
      type: signature(fields["type"]),
      functionIndex: integer(fields["functionIndex"], "exports.functionIndex"),
    };
  }
  if (kind === "table" || kind === "memory" || kind === "global") return { name, kind };
  throw bad("exports.kind");
}

function signature(value: unknown): Signature {
  const fields = record(value, "type");
  const types = (of: unknown): ValueType[] =>
    list(of, "type").map((type) => {
      if (typeof type !== "string" || !VALUE_TYPES.has(type)) throw bad("type");
      return type as ValueType;
    });
  return { params: types(fields["params"]), results: types(fields["results"]) };
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
