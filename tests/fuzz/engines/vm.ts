/** The engine under test: one VM with the modules of many units in one image, since starting the C compiler takes longest. */
import { type BarecellError, compile, type Image, isBarecellError, MicroVM, type TargetCpu } from "barecell";
import type { Unit } from "../harness/unit.ts";
import { decodeModule } from "../wasm/decode.ts";
import { globalTypeOf, type Module, typeOfFunction } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import type { Engine, Outcome, Trap } from "./outcome.ts";

/** Far more than any unit needs: what does not end by then hangs. */
const TIMEOUT_MS = 20_000;
const SLOT = 16;

/** The name of a unit's module in the image. */
export const imageName = (unit: number, module: string): string => `u${unit} ${module}`;

export interface CompileSettings {
  readonly optimize: 0 | 1 | 2 | 3;
  /** Default "host". */
  readonly targetCpu?: TargetCpu | "host" | undefined;
  readonly metering?: boolean;
}

/** All modules of the units as one image. */
export function compileUnits(units: readonly Unit[], settings: CompileSettings): Promise<Image> {
  const sources = units.flatMap((unit, i) =>
    unit.modules.map(({ name, bytes, link }) => ({
      name: imageName(i, name),
      source: bytes,
      link: Object.fromEntries(Object.entries(link).map(([from, to]) => [from, imageName(i, to)])),
    })),
  );
  const { optimize, targetCpu = "host", metering = false } = settings;
  return compile(sources, { instantiate: "on-demand", optimize, targetCpu, metering, cache: false });
}

export function bootUnits(image: Image): MicroVM {
  return MicroVM.bootSync(image, {
    afterTrap: "keep",
    maxMemoryBytes: 2 ** 32,
    unknownImports: "trap",
    timeoutMs: TIMEOUT_MS,
  });
}

const TRAP_CODES: readonly Trap[] = [
  "UNREACHABLE",
  "INTEGER_DIVIDE_BY_ZERO",
  "INTEGER_OVERFLOW",
  "INVALID_CONVERSION",
  "OUT_OF_BOUNDS_MEMORY",
  "OUT_OF_BOUNDS_TABLE",
  "UNINITIALIZED_ELEMENT",
  "INDIRECT_CALL_TYPE_MISMATCH",
  "STACK_EXHAUSTED",
];

function outcomeOfError(error: unknown): Outcome {
  if (!isBarecellError(error)) throw error;
  const trap = TRAP_CODES.find((name) => error.code === `BARECELL_TRAP_${name}`);
  const message = describe(error);
  return trap ? { kind: "trap", traps: [trap], message } : { kind: "failure", message };
}

const describe = (error: BarecellError): string => `${error.code}: ${error.message}`;

const BYTES: Readonly<Record<ValueType, number>> = {
  i32: 4,
  f32: 4,
  i64: 8,
  f64: 8,
  v128: 16,
  funcref: 8,
  externref: 8,
};

export class VmEngine implements Engine {
  readonly name = "VM";
  readonly #vm: MicroVM;
  readonly #index: number;
  readonly #modules: ReadonlyMap<string, Module>;

  /** @param index the unit's place in the image */
  constructor(vm: MicroVM, unit: Unit, index: number) {
    this.#vm = vm;
    this.#index = index;
    this.#modules = new Map(unit.modules.map(({ name, bytes }) => [name, decodeModule(bytes)]));
  }

  instantiate(name: string): Outcome {
    try {
      this.#vm.instantiateSync(imageName(this.#index, name));
      return { kind: "values", bits: [] };
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  call(name: string, exportName: string, args: readonly bigint[]): Outcome {
    const module = this.#modules.get(name);
    const index = module?.exports.find((entry) => entry.name === exportName)?.index;
    if (!module || index === undefined) throw new Error(`${name} has no export ${exportName}`);
    const type = typeOfFunction(module, index);
    const slots = new Uint8Array(type.params.length * SLOT);
    type.params.forEach((param, i) => {
      writeBits(slots, i * SLOT, args[i] ?? 0n, BYTES[param]);
    });
    try {
      const results = this.#vm.module(imageName(this.#index, name)).callRawSync(exportName, slots);
      return { kind: "values", bits: type.results.map((t, i) => valueAt(t, results, i * SLOT)) };
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  memory(name: string): Uint8Array | undefined {
    const module = this.#modules.get(name);
    if (!module?.exports.some(({ kind }) => kind === "memory")) return undefined;
    const { memory } = this.#vm.module(imageName(this.#index, name));
    return memory.read(0, memory.byteLength);
  }

  global(name: string, exportName: string): bigint {
    const module = this.#modules.get(name);
    const index = module?.exports.find((entry) => entry.name === exportName)?.index;
    if (!module || index === undefined) throw new Error(`${name} has no export ${exportName}`);
    const type = globalTypeOf(module, index).type;
    return valueAt(type, this.#vm.module(imageName(this.#index, name)).globalRaw(exportName), 0);
  }

  /** The VM belongs to the batch. */
  dispose(): void {}
}

function writeBits(slots: Uint8Array, at: number, bits: bigint, bytes: number): void {
  for (let i = 0; i < bytes; i++) slots[at + i] = Number((bits >> BigInt(8 * i)) & 0xffn);
}

function valueAt(type: ValueType, slots: Uint8Array, at: number): bigint {
  let value = 0n;
  for (let i = BYTES[type] - 1; i >= 0; i--) value = (value << 8n) | BigInt(slots[at + i] ?? 0);
  // A function reference is a pointer, which means nothing outside but that it is not null.
  return type === "funcref" && value !== 0n ? 1n : value;
}
