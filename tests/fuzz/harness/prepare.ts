/** From generated modules to a unit: bounded, with determined NaNs, with exports that can be called from outside, and a list of calls. */
import type { Choices } from "../generator/choices.ts";
import { argumentBits } from "../generator/constants.ts";
import { encodeModule, type Limits, type Module } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import { makeNansDetermined, NanHelpers, type NanRule } from "./nan.ts";
import type { Call, Unit } from "./unit.ts";
import { type Callable, wrapExports } from "./wrap.ts";

export interface Part {
  readonly name: string;
  readonly module: Module;
  readonly link: Readonly<Record<string, string>>;
  readonly fuel?: { readonly global: number; readonly amount: number };
  /** The outside does not call its functions; its state is compared all the same. */
  readonly isSupport?: boolean;
}

/** Growth is compared too, so both engines must be able to do as much as the module may ask for. */
const MAX_PAGES = 40;
const MAX_ELEMENTS = 500;

const MOST_CALLS = 40;

export function prepareUnit(origin: string, parts: readonly Part[], choices: Choices): Unit {
  const nan: NanRule = choices.oneIn(2) ? "observed" : "arithmetic";
  const bits = choices.oneIn(2);
  const callables: { readonly module: string; readonly callable: Callable }[] = [];
  const modules = parts.map(({ name, module, link, fuel, isSupport }) => {
    limitGrowth(module);
    const helpers = new NanHelpers(module);
    makeNansDetermined(module, nan, helpers);
    exportMemory(module);
    if (!isSupport) {
      const wrapped = wrapExports(module, { bits, nan, fuel }, helpers);
      for (const callable of wrapped) callables.push({ module: name, callable });
    }
    return { name, bytes: encodeModule(module), link };
  });
  return { origin, modules, calls: chooseCalls(callables, choices), nan };
}

function bounded(limits: Limits, most: number): Limits {
  const min = Math.min(limits.min, most);
  return { min, max: Math.min(limits.max ?? most, most) };
}

function limitGrowth(module: Module): void {
  module.memories = module.memories.map((limits) => bounded(limits, MAX_PAGES));
  module.tables = module.tables.map((table) => ({ ...table, limits: bounded(table.limits, MAX_ELEMENTS) }));
  module.imports = module.imports.map((entry) => {
    if (entry.kind === "memory") return { ...entry, type: bounded(entry.type, MAX_PAGES) };
    if (entry.kind !== "table") return entry;
    return { ...entry, type: { ...entry.type, limits: bounded(entry.type.limits, MAX_ELEMENTS) } };
  });
}

/** JavaScript sees a memory only if it is exported. */
function exportMemory(module: Module): void {
  const hasMemory = module.memories.length > 0 || module.imports.some(({ kind }) => kind === "memory");
  if (!hasMemory || module.exports.some(({ kind }) => kind === "memory")) return;
  module.exports.push({ name: "the memory", kind: "memory", index: 0 });
}

/** Each function a few times, in changing order, since every call leaves state behind; the probes in between and at the end. */
function chooseCalls(
  callables: readonly { readonly module: string; readonly callable: Callable }[],
  choices: Choices,
): Call[] {
  const functions = callables.filter(({ callable }) => !callable.isProbe);
  const probes = callables.filter(({ callable }) => callable.isProbe);
  const calls: Call[] = [];
  const add = ({ module, callable }: (typeof callables)[number]): void => {
    const { name, type } = callable;
    const args = type.params.map((param) => crossing(param, argumentBits(choices, param)));
    calls.push({ module, export: name, type, args });
  };
  if (functions.length > 0) {
    const count = Math.min(functions.length * 4, MOST_CALLS);
    // The first round reaches everything once; then as it comes.
    for (const one of functions.slice(0, MOST_CALLS)) add(one);
    while (calls.length < count)
      add(choices.pick(choices.oneIn(10) && probes.length > 0 ? probes : functions));
  }
  for (const probe of probes) add(probe);
  return calls;
}

/** As a float, only one NaN survives the way through a number of JavaScript. */
function crossing(type: ValueType, bits: bigint): bigint {
  if (type === "f32" && isNanBits(type, bits)) return 0x7fc00000n;
  if (type === "f64" && isNanBits(type, bits)) return 0x7ff8000000000000n;
  return bits;
}

export function isNanBits(type: "f32" | "f64", bits: bigint): boolean {
  return type === "f32"
    ? (bits & 0x7fffffffn) > 0x7f800000n
    : (bits & 0x7fffffffffffffffn) > 0x7ff0000000000000n;
}
