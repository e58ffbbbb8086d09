/** From a stream of the user's into the pipe that a guest reads. */
import type { NativePipe } from "../addon.ts";
import type { Source } from "./sources.ts";
import { Turn } from "./turn.ts";
import { Utf8Chunks } from "./utf8-chunks.ts";

/** Reads ahead while a call runs: what the pipe takes, and one chunk. */
export class InputPump {
  readonly #pipe: NativePipe;
  readonly #source: Source;
  readonly #failed: (error: unknown) => void;
  readonly #chunks = new Utf8Chunks();
  /** What the pipe had no room for. */
  #bytes: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #active = false;
  #pumping = false;
  #closed = false;
  /** The source is at its end; `#bytes` may not be. */
  #ended = false;

  constructor(pipe: NativePipe, source: Source, failed: (error: unknown) => void) {
    this.#pipe = pipe;
    this.#source = source;
    this.#failed = failed;
    pipe.onMoved = () => void this.#pump();
  }

  begin(): void {
    if (this.#closed) return;
    this.#active = true;
    try {
      this.#source.resume();
    } catch (error) {
      this.#fail(error);
    }
    void this.#pump();
  }

  end(): void {
    if (this.#closed) return;
    this.#active = false;
    this.#source.pause();
  }

  /** The guest finds the end of its input. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#active = false;
    this.#pipe.close();
    this.#bytes = new Uint8Array(0);
    this.#source.release();
  }

  /** Until there is nothing more to move: the pipe is full (and says when it no longer is), no call runs, or all is done. Never rejects. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      const turn = new Turn();
      while (this.#active && (await this.#hasBytes()) && this.#active) {
        const count = this.#pipe.write(this.#bytes, this.#offset);
        if (count === 0) break;
        this.#offset += count;
        await turn.rest();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#pumping = false;
    }
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#failed(error);
  }

  /** Whether there is something to write; fetches it if need be, which takes what time it takes. Closes the pipe at the end. */
  async #hasBytes(): Promise<boolean> {
    const turn = new Turn();
    while (this.#offset >= this.#bytes.length) {
      if (this.#ended) this.close();
      if (!this.#active) return false;
      const found = await this.#source.next();
      if (this.#closed) return false;
      this.#ended = found === undefined;
      this.#bytes = found === undefined ? this.#chunks.end() : this.#chunks.bytesOf(found.chunk);
      this.#offset = 0;
      await turn.rest();
    }
    return true;
  }
}
