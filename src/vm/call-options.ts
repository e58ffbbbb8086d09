/** Options of a single call: the object that may follow a function's arguments. */
import { LIMIT_NAMES, type Limits, type RunLimits } from "./limits.ts";
import { invalid } from "./option-checks.ts";
import { checkSignal } from "./options.ts";

export interface CallOptions extends RunLimits {
  /** Ends the call when it is aborted. */
  readonly signal?: AbortSignal;
}

export interface CheckedCallOptions {
  readonly limits: Limits;
  readonly signal: AbortSignal | undefined;
}

/** @throws BARECELL_ARGUMENT_INVALID, for unknown names too: a limit with a slip of the pen in it would be none */
export function checkCallOptions(options: object, defaults: Limits): CheckedCallOptions {
  const names: readonly string[] = [...LIMIT_NAMES, "signal"];
  const unknown = Object.keys(options).find((key) => !names.includes(key));
  if (unknown !== undefined) {
    throw invalid(`'${unknown}' is no option of a call; there are: ${names.join(", ")}`);
  }
  const { signal, ...limits } = options as CallOptions;
  return { limits: defaults.with(limits), signal: checkSignal(signal) };
}

/** Whether what follows the name of a function ends with options: if there is one value more than it has parameters. */
export function hasOptions(args: readonly unknown[], parameterCount: number): boolean {
  return args.length === parameterCount + 1 && isPlainObject(args[parameterCount]);
}

function isPlainObject(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
