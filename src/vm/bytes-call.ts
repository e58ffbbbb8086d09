/** Bytes and JSON in and out of a guest, by the convention of docs/guest-convention.md. */
import { BarecellError } from "../errors.ts";
import type { CallOptions } from "./call-options.ts";
import { invalid } from "./option-checks.ts";
import type { CallResult } from "./values.ts";

/** What of a module the convention needs. */
export interface BytesTarget {
  readonly needsInitialize: boolean;
  readonly memory: {
    readonly byteLength: number;
    read(offset: number, length: number): Uint8Array<ArrayBuffer>;
    write(offset: number, bytes: Uint8Array): void;
  };
  call(name: string, ...args: unknown[]): Promise<CallResult>;
  callSync(name: string, ...args: unknown[]): CallResult;
}

type Step = readonly [name: string, ...args: number[]];

/** The calls that make up one, each answered before the next. */
function* steps(
  target: BytesTarget,
  name: string,
  input: Uint8Array,
): Generator<Step, Uint8Array<ArrayBuffer>, CallResult> {
  if (target.needsInitialize) yield ["_initialize"];
  const pointer = unsigned(yield ["barecell_alloc", input.length]);
  if (pointer === 0) {
    throw broken("barecell_alloc", `gave no memory for ${input.length} bytes`);
  }
  requireRange(target, "barecell_alloc", pointer, input.length);
  target.memory.write(pointer, input);
  const result = yield [name, pointer | 0, input.length];
  if (typeof result !== "bigint") {
    throw broken(name, "does not return an i64, the pointer and length of its result");
  }
  const packed = BigInt.asUintN(64, result);
  const resultPointer = Number(packed >> 32n);
  const resultLength = Number(packed & 0xffff_ffffn);
  if (resultPointer === 0 && resultLength !== 0) throw broken(name, "returned a length without a pointer");
  requireRange(target, name, resultPointer, resultLength);
  const bytes = target.memory.read(resultPointer, resultLength);
  yield ["barecell_free", pointer | 0, input.length];
  if (resultPointer !== 0) yield ["barecell_free", resultPointer | 0, resultLength];
  return bytes;
}

const unsigned = (value: CallResult): number => (typeof value === "number" ? value >>> 0 : 0);

function requireRange(target: BytesTarget, name: string, pointer: number, length: number): void {
  if (pointer + length <= target.memory.byteLength) return;
  throw broken(
    name,
    `returned ${length} bytes at ${pointer}, which is not inside its linear memory of ${target.memory.byteLength} bytes`,
  );
}

function broken(name: string, message: string): BarecellError {
  return new BarecellError("BARECELL_RESULT_INVALID", `'${name}' ${message}`);
}

/** One time limit for all the calls. */
class Remaining {
  readonly #options: CallOptions;
  readonly #end: number;

  constructor(options: CallOptions) {
    this.#options = options;
    this.#end =
      options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs;
  }

  get options(): CallOptions {
    if (this.#end === Number.POSITIVE_INFINITY) return this.#options;
    // Time that is over is no value of the option; the shortest one ends the call at once.
    return { ...this.#options, timeoutMs: Math.max(0.001, this.#end - performance.now()) };
  }
}

/** @throws BARECELL_RESULT_INVALID, and as `call` */
export async function callBytes(
  target: BytesTarget,
  name: string,
  input: Uint8Array,
  options: CallOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const remaining = new Remaining(options);
  const run = steps(target, name, checkInput(input));
  let next = run.next();
  while (!next.done) {
    const [step, ...args] = next.value;
    next = run.next(await target.call(step, ...args, remaining.options));
  }
  return next.value;
}

/** As `callBytes`, on the calling thread. */
export function callBytesSync(
  target: BytesTarget,
  name: string,
  input: Uint8Array,
  options: CallOptions = {},
): Uint8Array<ArrayBuffer> {
  const remaining = new Remaining(options);
  const run = steps(target, name, checkInput(input));
  let next = run.next();
  while (!next.done) {
    const [step, ...args] = next.value;
    next = run.next(target.callSync(step, ...args, remaining.options));
  }
  return next.value;
}

function checkInput(input: Uint8Array): Uint8Array {
  if (!(input instanceof Uint8Array)) throw invalid("input must be a Uint8Array");
  if (input.length >= 2 ** 31) throw invalid("input must have less than 2 GiB");
  return input;
}

/** A value as the bytes of its JSON text. @throws BARECELL_ARGUMENT_INVALID */
export function encodeJson(value: unknown): Uint8Array {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new BarecellError("BARECELL_ARGUMENT_INVALID", "the value cannot be written as JSON", { cause });
  }
  if (text === undefined) throw invalid(`a value of type ${typeof value} has no JSON text`);
  return new TextEncoder().encode(text);
}

/** @throws BARECELL_RESULT_INVALID */
export function decodeJson(name: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new BarecellError(
      "BARECELL_RESULT_INVALID",
      `'${name}' returned ${bytes.length} bytes that are no JSON text in UTF-8`,
      { cause },
    );
  }
}
