/** What takes a guest's output, one chunk after the other. */
import { isNodeWritable, isWebWritable, type OutputCallback, type OutputStream } from "./kinds.ts";
import { WritableWatch } from "./writable-watch.ts";

/** None of these ends its stream: it is the user's, and other VMs may write to it. */
export interface Target {
  /** Resolves when the chunk was taken, and rejects if it was not. Not called again before that. */
  take(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Calls that may write begin. `failed` hears of failures of the stream that no chunk can be blamed for. */
  begin(failed: (error: Error) => void): void;
  /** They ended. */
  end(): void;
  /** The VM will write no more. */
  release(): void;
}

class CallbackTarget implements Target {
  readonly #callback: OutputCallback;

  constructor(callback: OutputCallback) {
    this.#callback = callback;
  }

  async take(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#callback(chunk);
  }

  begin(): void {}
  end(): void {}
  release(): void {}
}

class WebTarget implements Target {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(stream: WritableStream<Uint8Array>) {
    this.#writer = stream.getWriter();
    // Told by the next write; but a promise that rejects must have somebody who listens.
    this.#writer.closed.catch(() => {});
  }

  async take(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#writer.ready;
    await this.#writer.write(chunk);
  }

  begin(): void {}
  end(): void {}

  release(): void {
    this.#writer.releaseLock();
  }
}

/** The properties that Node's own streams have; older or foreign ones may not. */
interface WritableState {
  readonly writable?: boolean;
  readonly writableEnded?: boolean;
  readonly destroyed?: boolean;
  readonly errored?: Error | null;
}

class NodeTarget implements Target {
  readonly #stream: NodeJS.WritableStream;
  readonly #watch: WritableWatch;
  #failed: ((error: Error) => void) | undefined;
  #refuse: ((error: Error) => void) | undefined;
  #broken: Error | undefined;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
    this.#watch = WritableWatch.of(stream);
  }

  begin(failed: (error: Error) => void): void {
    this.#failed = failed;
    this.#watch.add(this.#trouble);
  }

  /** A write that is still on its way may yet fail, with an event that would end the process. */
  end(): void {
    this.#failed = undefined;
    if (this.#refuse === undefined) this.#watch.remove(this.#trouble, this.#broken !== undefined);
  }

  release(): void {
    this.end();
  }

  /** One chunk at a time, so that its callback says that it was taken, and not only that it waits in a buffer. */
  take(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    const refused = this.#broken ?? this.#unwritable();
    if (refused !== undefined) return Promise.reject(refused);
    return new Promise((resolve, reject) => {
      this.#refuse = reject;
      const written = (error?: Error | null): void => {
        this.#refuse = undefined;
        if (error) {
          this.#broken ??= error;
          reject(error);
        } else {
          resolve();
        }
        if (this.#failed === undefined) this.end();
      };
      try {
        this.#stream.write(Buffer.from(chunk.buffer), written);
      } catch (error) {
        written(error as Error);
      }
    });
  }

  /** Writing to a stream that was ended would make it fail for the others that use it. */
  #unwritable(): Error | undefined {
    const { writable, writableEnded, destroyed, errored } = this.#stream as WritableState;
    if (errored) return errored;
    if (destroyed === true) return new Error("the stream is destroyed");
    if (writableEnded === true || writable === false) return new Error("the stream was ended");
    return undefined;
  }

  readonly #trouble = (error: Error): void => {
    const { errored } = this.#stream as WritableState;
    this.#broken ??= errored ?? error;
    // A stream that was closed in order fails nobody who has nothing more to write.
    if (this.#refuse === undefined && errored) this.#failed?.(errored);
    this.#refuse?.(this.#broken);
    this.#refuse = undefined;
  };
}

/** @throws TypeError if a web stream is locked */
export function targetOf(stream: OutputStream): Target {
  if (typeof stream === "function") return new CallbackTarget(stream);
  if (isNodeWritable(stream)) return new NodeTarget(stream);
  if (isWebWritable(stream)) return new WebTarget(stream);
  throw new TypeError("not a stream to write to");
}
