/** A call as it can go to another process: values and bytes, no references. */
import type { Image } from "../image/image.ts";
import type { Signature, ValueType } from "../image/manifest.ts";
import { hasOptions } from "../vm/call-options.ts";
import { invalid } from "../vm/option-checks.ts";
import { checkSignal } from "../vm/options.ts";
import type { CallRequest } from "./messages.ts";

/** All but what the worker that gets it decides. */
export interface PreparedCall {
  readonly request: Pick<CallRequest, "name" | "args" | "options">;
  readonly signal: AbortSignal | undefined;
  /** Of the call alone; undefined: what its VM was booted with. */
  readonly timeoutMs: number | undefined;
}

/** @throws BARECELL_ARGUMENT_INVALID for what cannot be sent */
export function prepareCall(image: Image, name: string, args: readonly unknown[]): PreparedCall {
  const type = signatureOf(image, name);
  // The worker knows best what to say of a function that does not exist.
  if (type === undefined)
    return {
      ...prepareOptions(name, [], undefined),
      request: { name: String(name), args: [], options: null },
    };
  refuseReferences(name, type, args);
  const isWithOptions = hasOptions(args, type.params.length);
  const values = isWithOptions ? args.slice(0, -1) : args;
  const options = isWithOptions ? (args.at(-1) as object) : {};
  values.forEach((value, i) => {
    const isObject = typeof value === "object" && value !== null && !(value instanceof Uint8Array);
    if (isObject || typeof value === "function" || typeof value === "symbol")
      throw invalid(
        `argument ${i + 1} of '${name}' is ${typeof value === "object" ? "an object" : `a ${typeof value}`}; numbers, bigints and bytes can go to a worker process`,
      );
  });
  const hasAll = values.length === type.params.length;
  // The caller may reuse its buffer while the call waits.
  const sent = values.map((value) => (value instanceof Uint8Array ? new Uint8Array(value) : value));
  return prepareOptions(name, sent, hasAll ? options : undefined);
}

/** @throws BARECELL_ARGUMENT_INVALID */
export function prepareBytes(name: string, input: Uint8Array, options: object): PreparedCall {
  if (!(input instanceof Uint8Array)) throw invalid("input must be a Uint8Array");
  if (input.length >= 2 ** 31) throw invalid("input must have less than 2 GiB");
  if (typeof options !== "object" || options === null)
    throw invalid("the options of a call must be an object");
  return prepareOptions(String(name), new Uint8Array(input), options);
}

function prepareOptions(
  name: string,
  args: readonly unknown[] | Uint8Array,
  options: object | undefined,
): PreparedCall {
  if (options === undefined)
    return { request: { name, args, options: null }, signal: undefined, timeoutMs: undefined };
  const { signal, ...limits } = options as { signal?: AbortSignal } & Record<string, unknown>;
  for (const [key, value] of Object.entries(limits)) {
    if (typeof value === "object" || typeof value === "function" || typeof value === "symbol")
      throw invalid(
        `the option '${key}' of a call must be a number, not ${value === null ? "null" : typeof value}`,
      );
  }
  const { timeoutMs } = limits;
  return {
    request: { name, args, options: limits },
    signal: checkSignal(signal),
    timeoutMs: typeof timeoutMs === "number" ? timeoutMs : undefined,
  };
}

function signatureOf(image: Image, name: string): Signature | undefined {
  const found = image.exports.find((entry) => entry.kind === "func" && entry.name === name);
  return found?.kind === "func" ? found.type : undefined;
}

const isReference = (type: ValueType): boolean => type === "externref" || type === "funcref";

/** They are places in tables of one VM, and of JavaScript values in one process. Null is the same everywhere. */
function refuseReferences(name: string, { params, results }: Signature, args: readonly unknown[]): void {
  const cure = "references cannot leave their process: use Pool, or pass numbers or bytes";
  const place = params.findIndex((param, i) => isReference(param) && args[i] !== null && i < args.length);
  if (place >= 0) throw invalid(`argument ${place + 1} of '${name}' is of type ${params[place]}; ${cure}`);
  const result = results.find(isReference);
  if (result !== undefined) throw invalid(`'${name}' returns a value of type ${result}; ${cure}`);
}
