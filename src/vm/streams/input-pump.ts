/** From a stream of the user's into the pipe that a guest reads. */
import type { NativePipe } from "../addon.ts";
import type { Source } from "./sources.ts";
import { Turn } from "./turn.ts";
import { Utf8Chunks } from "./utf8-chunks.ts";

/** Begins when the guest first wants to read. From then on reads ahead while a call runs: what the pipe takes, and one chunk. */
export class InputPump {
  readonly #pipe: NativePipe;
  readonly #source: Source;
  readonly #chunks = new Utf8Chunks();
  /** What the pipe had no room for. */
  #bytes: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #wanted = false;
  #active = false;
  #pumping = false;
  /** Nothing more comes from the source; `#bytes` may not be empty. */
  #ended = false;
  #released = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(pipe: NativePipe, source: Source) {
    this.#pipe = pipe;
    this.#source = source;
    pipe.onMoved = () => {
      this.#wanted = true;
      void this.#pump();
    };
  }

  begin(): void {
    if (this.#released) return;
    this.#active = true;
    // Under way since an earlier call: it waits for its source.
    if (this.#pumping) this.#source.resume();
    else void this.#pump();
  }

  end(): void {
    this.#active = false;
    if (!this.#released) this.#source.pause();
  }

  /** The source's failure, once, if the guest took it for the end of its input; a guest that read less has lost nothing yet. */
  takeFailure(): { readonly error: unknown } | undefined {
    if (this.#failure === undefined || !this.#pipe.endWasRead()) return undefined;
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  /** The VM reads no more. Idempotent. */
  close(): void {
    this.#finish();
    this.#pipe.close();
  }

  /** The guest finds the end of its input behind what is in the pipe. */
  #finish(): void {
    if (this.#released) return;
    this.#released = true;
    this.#active = false;
    this.#bytes = new Uint8Array(0);
    this.#pipe.end();
    this.#source.release();
  }

  /** Until there is nothing more to move: the pipe is full (and says when it no longer is), no call runs, or all is done. Never rejects. */
  async #pump(): Promise<void> {
    if (this.#pumping || !this.#wanted || !this.#active) return;
    this.#pumping = true;
    try {
      const turn = new Turn();
      while ((await this.#hasBytes()) && this.#active) {
        const count = this.#pipe.write(this.#bytes, this.#offset);
        if (count === 0) break;
        this.#offset += count;
        await turn.rest();
      }
    } catch (error) {
      if (!this.#released) {
        this.#failure = { error };
        this.#finish();
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Whether there is something to write; fetches it if need be, which takes what time it takes. */
  async #hasBytes(): Promise<boolean> {
    const turn = new Turn();
    while (this.#offset >= this.#bytes.length) {
      if (this.#ended) this.#finish();
      if (!this.#active) return false;
      const found = await this.#source.next();
      if (this.#released) return false;
      this.#ended = found === undefined;
      this.#bytes = found === undefined ? this.#chunks.end() : this.#chunks.bytesOf(found.chunk);
      this.#offset = 0;
      await turn.rest();
    }
    return true;
  }
}
