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

/** Splits what follows the name of a function into its arguments and its options, if there is one value more than it has parameters. */
export function splitOptions(
  args: readonly unknown[],
  parameterCount: number,
): { readonly values: readonly unknown[]; readonly options: object | undefined } {
  const last = args.at(-1);
  if (args.length !== parameterCount + 1 || !isPlainObject(last)) return { values: args, options: undefined };
  return { values: args.slice(0, -1), options: last };
}

function isPlainObject(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
