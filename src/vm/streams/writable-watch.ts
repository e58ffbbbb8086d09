/**
 * Errors of Node streams that guests write to. An 'error' event without a listener ends the process, so there must be one while we write; and as
 * hundreds of VMs may write to `process.stdout`, there is one pair of listeners for all of them.
 */

type Listener = (error: Error) => void;

const watched = new WeakMap<NodeJS.WritableStream, WritableWatch>();

/** Stays in place of a listener whose stream has failed: the 'error' event follows the callback that told of it. */
const ignore: Listener = () => {};

export class WritableWatch {
  readonly #stream: NodeJS.WritableStream;
  readonly #listeners = new Set<Listener>();
  #attached = false;

  private constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
  }

  static of(stream: NodeJS.WritableStream): WritableWatch {
    const watch = watched.get(stream) ?? new WritableWatch(stream);
    watched.set(stream, watch);
    return watch;
  }

  /** The listener hears of an error, and of a stream that was closed. */
  add(listener: Listener): void {
    if (!this.#attached) {
      this.#attached = true;
      this.#stream.on("error", this.#failed);
      this.#stream.on("close", this.#closed);
    }
    this.#listeners.add(listener);
  }

  /** @param failed whether the stream has failed; its error event may then still come, and is of no more use */
  remove(listener: Listener, failed: boolean): void {
    if (failed && this.#attached) this.#listeners.add(ignore);
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#detach();
  }

  #detach(): void {
    this.#attached = false;
    this.#stream.removeListener("error", this.#failed);
    this.#stream.removeListener("close", this.#closed);
  }

  readonly #failed = (error: Error): void => {
    for (const listener of [...this.#listeners]) listener(error);
  };

  readonly #closed = (): void => {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    this.#detach();
    for (const listener of listeners) listener(new Error("the stream was closed"));
  };
}
