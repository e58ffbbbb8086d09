/** Functions of the host's in TypeScript: how a user states them, checked. */
import { BarecellError } from "../errors.ts";
import type { Signature, ValueType } from "../image/manifest.ts";

/** Called with a context and the guest's arguments; its result, or the one its promise comes to, goes back to the guest. */
export type HostFunctionOf<Context> = (context: Context, ...args: never[]) => unknown;

/** The same with its type, which the module's import must have too. */
export interface TypedHostFunctionOf<Context> {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly call: HostFunctionOf<Context>;
}

/** By the import's module and name. */
export type HostImportsOf<Context> = Readonly<
  Record<string, Readonly<Record<string, HostFunctionOf<Context> | TypedHostFunctionOf<Context>>>>
>;

export interface CheckedHostFunction {
  readonly call: (context: unknown, ...args: unknown[]) => unknown;
  /** Undefined: any. */
  readonly type: Signature | undefined;
}

export type CheckedHostImports = ReadonlyMap<string, ReadonlyMap<string, CheckedHostFunction>>;

const VALUE_TYPES: readonly ValueType[] = ["i32", "i64", "f32", "f64", "v128", "funcref", "externref"];

export const NO_HOST_IMPORTS: CheckedHostImports = new Map();

/** @throws BARECELL_ARGUMENT_INVALID */
export function checkHostImports(imports: HostImportsOf<never>): CheckedHostImports {
  if (!isObject(imports)) throw invalid("imports must be an object of modules");
  return new Map(
    Object.entries(imports).map(([module, functions]) => {
      if (!isObject(functions)) throw invalid(`imports.${module} must be an object of functions`);
      const checked = Object.entries(functions).map(
        ([name, given]) => [name, checkFunction(`imports.${module}.${name}`, given)] as const,
      );
      return [module, new Map(checked)] as const;
    }),
  );
}

function checkFunction(where: string, given: unknown): CheckedHostFunction {
  if (typeof given === "function") {
    return { call: given as CheckedHostFunction["call"], type: undefined };
  }
  if (!isObject(given) || !("call" in given) || typeof given.call !== "function") {
    throw invalid(`${where} must be a function, or an object with params, results and call`);
  }
  const { params, results, call } = given as { params: unknown; results: unknown; call: unknown };
  return {
    call: (call as CheckedHostFunction["call"]).bind(given),
    type: { params: valueTypes(`${where}.params`, params), results: valueTypes(`${where}.results`, results) },
  };
}

function valueTypes(where: string, types: unknown): readonly ValueType[] {
  if (Array.isArray(types) && types.every((type) => VALUE_TYPES.includes(type))) return types;
  throw invalid(`${where} must be an array of value types (${VALUE_TYPES.join(", ")})`);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function invalid(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}
