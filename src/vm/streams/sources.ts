/** Where a guest's input comes from, one chunk after the other, when it is asked for. */
import {
  type InputChunk,
  type InputStream,
  isAsyncIterable,
  isNodeReadable,
  isWebReadable,
} from "./kinds.ts";

export interface Source {
  /** The next chunk, of whatever type it is; undefined at the end. Not called again before it is settled. */
  next(): Promise<{ readonly chunk: unknown } | undefined>;
  /** No call runs: let the user's stream be, as far as it can be. A `next()` that is under way goes on after `resume()`. */
  pause(): void;
  resume(): void;
  /** The VM will read no more. The stream stays open; an iterator, which is nobody else's, is ended. */
  release(): void;
}

class IteratorSource implements Source {
  readonly #iterable: AsyncIterable<InputChunk>;
  #iterator: AsyncIterator<unknown> | undefined;
  #done = false;

  constructor(iterable: AsyncIterable<InputChunk>) {
    this.#iterable = iterable;
  }

  async next(): Promise<{ chunk: unknown } | undefined> {
    this.#iterator ??= this.#iterable[Symbol.asyncIterator]();
    try {
      const { done, value } = await this.#iterator.next();
      if (done !== true) return { chunk: value };
    } catch (error) {
      this.#done = true;
      throw error;
    }
    this.#done = true;
    return undefined;
  }

  pause(): void {}
  resume(): void {}

  release(): void {
    if (this.#done || this.#iterator === undefined) return;
    this.#done = true;
    const iterator = this.#iterator;
    // Nobody is left to be told what goes wrong in it.
    void (async () => iterator.return?.())().catch(() => {});
  }
}

class WebSource implements Source {
  readonly #reader: ReadableStreamDefaultReader<unknown>;

  constructor(stream: ReadableStream<InputChunk>) {
    this.#reader = stream.getReader();
    this.#reader.closed.catch(() => {});
  }

  async next(): Promise<{ chunk: unknown } | undefined> {
    const { done, value } = await this.#reader.read();
    return done ? undefined : { chunk: value };
  }

  pause(): void {}
  resume(): void {}

  release(): void {
    this.#reader.releaseLock();
  }
}

/** The properties that Node's own streams have; older or foreign ones may not. */
interface ReadableState {
  readonly readableEnded?: boolean;
  readonly destroyed?: boolean;
  readonly errored?: Error | null;
}

type Waiting = {
  readonly resolve: (found: { readonly chunk: unknown } | undefined) => void;
  readonly reject: (error: Error) => void;
};

/** An 'error' event without a listener ends the process. This one knows nothing of the VM, so that the stream does not keep a forgotten VM alive. */
function rememberError(stream: NodeJS.ReadableStream): { error?: Error; forget: () => void } {
  const memory: { error?: Error; forget: () => void } = {
    forget: () => stream.removeListener("error", remember),
  };
  const remember = (error: Error): void => {
    memory.error ??= error;
  };
  stream.on("error", remember);
  return memory;
}

/** A stream is one VM's only, so its errors are ours until the VM is disposed. */
class NodeSource implements Source {
  readonly #stream: NodeJS.ReadableStream;
  /** Chunks that came although the stream was paused, as when somebody else resumes it. */
  readonly #early: unknown[] = [];
  #waiting: Waiting | undefined;
  #attached = false;
  #ended = false;
  readonly #memory: { error?: Error; forget: () => void };

  constructor(stream: NodeJS.ReadableStream) {
    this.#stream = stream;
    this.#memory = rememberError(stream);
  }

  next(): Promise<{ chunk: unknown } | undefined> {
    if (this.#early.length > 0) return Promise.resolve({ chunk: this.#early.shift() });
    this.#lookAtState();
    if (this.#memory.error !== undefined) return Promise.reject(this.#memory.error);
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#attach();
    });
  }

  pause(): void {
    if (!this.#attached) return;
    this.#attached = false;
    this.#stream.removeListener("data", this.#data);
    this.#stream.removeListener("end", this.#end);
    this.#stream.removeListener("error", this.#failed);
    this.#stream.removeListener("close", this.#closed);
    // The process's own input goes on reading ahead when it was paused in the middle of a chunk, and would hold up the process's end: it stops for good only if
    // paused while it flows.
    if ((this.#stream as { fd?: unknown }).fd === 0) this.#stream.resume();
    this.#stream.pause();
  }

  resume(): void {
    if (this.#waiting === undefined) return;
    this.#lookAtState();
    if (this.#memory.error !== undefined || this.#ended) this.#settle();
    else this.#attach();
  }

  release(): void {
    this.pause();
    this.#memory.forget();
  }

  /** What happened while nobody listened. */
  #lookAtState(): void {
    const { readableEnded, destroyed, errored } = this.#stream as ReadableState;
    if (readableEnded === true) this.#ended = true;
    else if (errored) this.#memory.error ??= errored;
    else if (destroyed === true) this.#memory.error ??= new Error("the stream was destroyed before its end");
  }

  #attach(): void {
    if (!this.#attached) {
      this.#attached = true;
      this.#stream.on("data", this.#data);
      this.#stream.on("end", this.#end);
      this.#stream.on("error", this.#failed);
      this.#stream.on("close", this.#closed);
    }
    this.#stream.resume();
  }

  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (this.#early.length > 0) waiting?.resolve({ chunk: this.#early.shift() });
    else if (this.#memory.error !== undefined) waiting?.reject(this.#memory.error);
    else waiting?.resolve(undefined);
  }

  readonly #data = (chunk: unknown): void => {
    this.#early.push(chunk);
    this.#stream.pause();
    if (this.#waiting !== undefined) this.#settle();
  };

  readonly #end = (): void => {
    this.#ended = true;
    this.pause();
    this.#settle();
  };

  readonly #failed = (error: Error): void => {
    this.#memory.error ??= error;
    this.pause();
    this.#settle();
  };

  readonly #closed = (): void => {
    if (!this.#ended) this.#failed(new Error("the stream was closed before its end"));
  };
}

/** @throws TypeError if a web stream is locked */
export function sourceOf(stream: InputStream): Source {
  if (isNodeReadable(stream)) return new NodeSource(stream);
  if (isWebReadable(stream)) return new WebSource(stream);
  if (isAsyncIterable(stream)) return new IteratorSource(stream);
  throw new TypeError("not a stream to read");
}
