/** Calls that wait for a VM: each for its own image, with a deadline and a signal; never more than the pool allows. */
import { BarecellError } from "../errors.ts";

export interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export interface QueueLimits {
  readonly queueLimit: number;
  /** Infinity: none. */
  readonly queueTimeoutMs: number;
}

/** How many wait in all queues of a pool. */
export class QueueBudget {
  waiting = 0;
}

export class WaitingQueue<T> {
  readonly #limits: QueueLimits;
  readonly #budget: QueueBudget;
  readonly #entries = new Set<Waiting<T>>();

  constructor(limits: QueueLimits, budget: QueueBudget) {
    this.#limits = limits;
    this.#budget = budget;
  }

  get length(): number {
    return this.#entries.size;
  }

  /** @throws BARECELL_POOL_FULL at once; BARECELL_POOL_TIMEOUT, BARECELL_CANCELLED later */
  wait(signal: AbortSignal | undefined): Promise<T> {
    const { queueLimit, queueTimeoutMs } = this.#limits;
    if (this.#budget.waiting >= queueLimit) {
      throw new BarecellError(
        "BARECELL_POOL_FULL",
        `${this.#budget.waiting} calls wait for a VM already, and queueLimit is ${queueLimit}`,
      );
    }
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        this.#remove(entry);
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const entry: Waiting<T> = {
        resolve: (value) => {
          leave();
          resolve(value);
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => entry.reject(cancelledWaiting(signal));
      const timer =
        queueTimeoutMs === Number.POSITIVE_INFINITY
          ? undefined
          : setTimeout(() => entry.reject(tooLong(queueTimeoutMs)), Math.min(queueTimeoutMs, 2 ** 31 - 1));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#entries.add(entry);
      this.#budget.waiting++;
    });
  }

  /** The one that waits longest. */
  first(): Waiting<T> | undefined {
    for (const entry of this.#entries) return entry;
    return undefined;
  }

  rejectAll(error: () => unknown): void {
    for (const entry of [...this.#entries]) entry.reject(error());
  }

  #remove(entry: Waiting<T>): void {
    if (this.#entries.delete(entry)) this.#budget.waiting--;
  }
}

function tooLong(ms: number): BarecellError {
  return new BarecellError("BARECELL_POOL_TIMEOUT", `no VM came free within queueTimeoutMs of ${ms}`);
}

export function cancelledWaiting(signal: AbortSignal | undefined): BarecellError {
  return new BarecellError("BARECELL_CANCELLED", "cancelled by its signal while it waited for a VM", {
    cause: signal?.reason,
  });
}
