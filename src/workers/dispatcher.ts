/** Brings calls to workers: at once where one is free, else through a bounded queue, images in turn. */
import { BarecellError } from "../errors.ts";
import { cancelledWaiting, QueueBudget, WaitingQueue } from "../pool/queue.ts";
import { Crew } from "./crew.ts";
import type { CheckedWorkerPoolOptions } from "./options.ts";
import type { PreparedCall } from "./requests.ts";
import { type MetricsByImage, NO_METRICS } from "./worker-metrics.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** The calls of one image that wait for a worker. */
interface Line {
  readonly queue: WaitingQueue<WorkerProcess>;
  /** When it was last served, in turns of all. */
  turn: number;
}

export class Dispatcher {
  readonly #options: CheckedWorkerPoolOptions;
  readonly #lines: ReadonlyMap<string, Line>;
  readonly #crew: Crew;
  #turn = 0;
  #isClosed = false;
  /** Those who wait for something of the workers. */
  #holds = 0;

  constructor(options: CheckedWorkerPoolOptions) {
    this.#options = options;
    const budget = new QueueBudget();
    this.#lines = new Map(
      options.pool.images.map(({ name }) => [
        name,
        { queue: new WaitingQueue<WorkerProcess>(options.pool, budget), turn: 0 },
      ]),
    );
    this.#crew = new Crew(options, {
      free: () => this.#serve(),
      stuck: (reason) => {
        for (const { queue } of this.#lines.values()) queue.rejectAll(() => reason);
      },
    });
  }

  get crew(): Crew {
    return this.#crew;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Of each image: what the workers did and have, as they last said, and what waits and runs, as it is. */
  get metrics(): Readonly<MetricsByImage> {
    const { metrics, workers } = this.#crew;
    for (const [name, { queue }] of this.#lines) {
      const running = workers.reduce((sum, worker) => sum + worker.runningOf(name), 0);
      metrics[name] = { ...(metrics[name] ?? NO_METRICS), running, waiting: queue.length };
    }
    return metrics;
  }

  /** @throws BARECELL_POOL_FULL, BARECELL_POOL_TIMEOUT, BARECELL_POOL_CLOSED, BARECELL_CANCELLED, BARECELL_WORKER_LOST, and as the call does */
  async call(image: string, { request, signal, timeoutMs }: PreparedCall): Promise<unknown> {
    if (this.#isClosed) throw closed();
    if (signal?.aborted) throw cancelledWaiting(signal);
    return this.#held(async () => {
      const { queueTimeoutMs } = this.#options.pool;
      const since = performance.now();
      const { queue } = this.#line(image);
      // Who waits was first.
      const worker = (queue.length === 0 ? this.#pick(image) : undefined) ?? (await queue.wait(signal));
      const waitMs = Math.max(0, queueTimeoutMs - (performance.now() - since));
      try {
        return await worker.run({ ...request, image, waitMs }, timeoutMs, signal);
      } catch (error) {
        throw withOwnReason(error, signal);
      }
    });
  }

  #line(image: string): Line {
    const line = this.#lines.get(image);
    if (line === undefined) throw new BarecellError("BARECELL_INTERNAL", `no queue for the image '${image}'`);
    return line;
  }

  /** A worker that expects the call. */
  #pick(image: string): WorkerProcess | undefined {
    const worker = this.#crew.pick(image);
    if (worker === undefined) return undefined;
    worker.expect(image);
    this.#line(image).turn = ++this.#turn;
    return worker;
  }

  /** Those who wait, the image that was served longest ago first. */
  #serve(): void {
    for (;;) {
      const waiting = [...this.#lines].filter(([, { queue }]) => queue.length > 0);
      const [next] = waiting.sort(([, a], [, b]) => a.turn - b.turn);
      if (next === undefined) return;
      const [image, { queue }] = next;
      const worker = this.#pick(image);
      // Any worker that is free can take any image.
      if (worker === undefined) return;
      queue.first()?.resolve(worker);
    }
  }

  async ready(): Promise<void> {
    if (this.#isClosed) throw closed();
    await this.#held(() => this.#crew.ready());
  }

  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      for (const { queue } of this.#lines.values()) queue.rejectAll(closed);
    }
    await this.#held(() => this.#crew.close());
  }

  /** The event loop has to go on until it is over. */
  async #held<T>(body: () => Promise<T>): Promise<T> {
    if (this.#holds++ === 0) this.#crew.hold(true);
    try {
      return await body();
    } finally {
      if (--this.#holds === 0) this.#crew.hold(false);
    }
  }
}

/** The signal's reason is an object of this process: the error has it, not a copy that was sent to and fro. */
function withOwnReason(error: unknown, signal: AbortSignal | undefined): unknown {
  if (!(error instanceof BarecellError) || error.code !== "BARECELL_CANCELLED" || !signal?.aborted)
    return error;
  const { backtrace, message } = error;
  return new BarecellError("BARECELL_CANCELLED", message, { backtrace, cause: signal.reason });
}

function closed(): BarecellError {
  return new BarecellError("BARECELL_POOL_CLOSED", "the pool is closed");
}
