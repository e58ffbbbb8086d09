/** The streams of JavaScript that a guest's standard streams can be, and how they are told apart: by what they can do, as Node does. */

/** What input comes in; strings are taken as UTF-8. */
export type InputChunk = Uint8Array | string;

/** Streams for a guest to read. */
export type InputStream = NodeJS.ReadableStream | ReadableStream<InputChunk> | AsyncIterable<InputChunk>;

/** Gets each piece of a guest's output as a copy of its own. No other comes before the promise is settled: a guest that is faster waits. */
export type OutputCallback = (chunk: Uint8Array<ArrayBuffer>) => void | PromiseLike<void>;

/** Streams for a guest to write. */
export type OutputStream = NodeJS.WritableStream | WritableStream<Uint8Array> | OutputCallback;

function hasMethods(value: unknown, ...names: readonly PropertyKey[]): value is object {
  if (typeof value !== "object" || value === null) return false;
  return names.every((name) => typeof (value as Record<PropertyKey, unknown>)[name] === "function");
}

export function isNodeReadable(value: unknown): value is NodeJS.ReadableStream {
  return hasMethods(value, "on", "removeListener", "pause", "resume", "read");
}

export function isNodeWritable(value: unknown): value is NodeJS.WritableStream {
  return hasMethods(value, "on", "removeListener", "write", "end");
}

export function isWebReadable(value: unknown): value is ReadableStream<InputChunk> {
  return hasMethods(value, "getReader", "cancel");
}

export function isWebWritable(value: unknown): value is WritableStream<Uint8Array> {
  return hasMethods(value, "getWriter", "abort");
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<InputChunk> {
  return hasMethods(value, Symbol.asyncIterator);
}

export function isInputStream(value: unknown): value is InputStream {
  return isNodeReadable(value) || isWebReadable(value) || isAsyncIterable(value);
}

export function isOutputStream(value: unknown): value is OutputStream {
  return typeof value === "function" || isNodeWritable(value) || isWebWritable(value);
}
