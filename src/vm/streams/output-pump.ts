/** From the pipe that a guest writes into a stream of the user's. */
import type { NativePipe } from "../addon.ts";
import type { Target } from "./targets.ts";
import { Turn } from "./turn.ts";

/** Takes from the pipe only what the target has room for; a guest that is faster finds the pipe full, and waits. */
export class OutputPump {
  readonly #pipe: NativePipe;
  readonly #target: Target;
  readonly #failed: (error: unknown) => void;
  #pumping = false;
  #closed = false;
  #waiting: (() => void)[] = [];

  constructor(pipe: NativePipe, target: Target, failed: (error: unknown) => void) {
    this.#pipe = pipe;
    this.#target = target;
    this.#failed = failed;
    pipe.onMoved = () => void this.#pump();
  }

  /** Whether the target has not yet taken what it was given. */
  get isBusy(): boolean {
    return this.#pumping && !this.#closed;
  }

  begin(): void {
    if (this.#closed) return;
    try {
      this.#target.begin((error) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
    }
    // Tells the pipe that news are wanted.
    void this.#pump();
  }

  end(): void {
    if (!this.#closed) this.#target.end();
  }

  /** When no call runs: resolves as soon as the target has taken all there is, or nothing more will come of it. */
  emptied(): Promise<void> {
    void this.#pump();
    if (!this.isBusy) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#failed(error);
  }

  /** What the guest writes from now on is an error to it. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pipe.close();
    this.#target.release();
    this.#settle();
  }

  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Until the pipe is empty (and says when it no longer is). Never rejects. */
  async #pump(): Promise<void> {
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    try {
      const turn = new Turn();
      for (let chunk = this.#pipe.read(); chunk !== null; chunk = this.#pipe.read()) {
        await this.#target.take(chunk);
        await turn.rest();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#pumping = false;
      this.#settle();
    }
  }
}
