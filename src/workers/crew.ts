/** The places for worker processes: each has one, or gets another in place of one that was lost. Knows who can take a call, nothing of who waits. */
import { BarecellError } from "../errors.ts";
import { imageFd } from "../vm/native-image.ts";
import type { StartMessage } from "./messages.ts";
import type { CheckedWorkerPoolOptions, Share } from "./options.ts";
import { type MetricsByImage, sumInto } from "./worker-metrics.ts";
import { FIRST_PASSED_FD, WorkerProcess } from "./worker-process.ts";

/** A worker that lived so long was no false start: its successor comes at once. */
const SOUND_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** So many false starts one after the other, and nobody waits any longer for the next. */
const GIVE_UP_AFTER = 3;

interface Place {
  readonly share: Share;
  worker: WorkerProcess | undefined;
  isReady: boolean;
  /** What keeps its `min` VMs from being there. */
  obstacle: Error | undefined;
  falseStarts: number;
  pause: NodeJS.Timeout | undefined;
}

export interface CrewEvents {
  /** Somebody can take a call, perhaps. */
  free(): void;
  /** Nobody can take one, nor is about to: those who wait may know why. */
  stuck(reason: Error): void;
}

export class Crew {
  readonly #options: CheckedWorkerPoolOptions;
  readonly #events: CrewEvents;
  readonly #places: readonly Place[];
  /** Counts of workers that are gone. */
  readonly #past: MetricsByImage = {};
  /** Of the images' memory files, which every worker inherits. */
  readonly #fds: readonly number[];
  #lost = 0;
  #isClosed = false;
  #isHeld = false;
  #onChange: (() => void)[] = [];

  /** @throws BARECELL_IMAGE_CPU, BARECELL_ADDON_MISSING, BARECELL_HOST_LIMIT */
  constructor(options: CheckedWorkerPoolOptions, events: CrewEvents) {
    this.#options = options;
    this.#events = events;
    this.#fds = options.pool.images.map(({ image }) => imageFd(image));
    this.#places = options.shares.map((share) => ({
      share,
      worker: undefined,
      isReady: false,
      obstacle: undefined,
      falseStarts: 0,
      pause: undefined,
    }));
    for (const place of this.#places) this.#start(place);
  }

  get workers(): readonly WorkerProcess[] {
    return this.#places.flatMap(({ worker }) => worker ?? []);
  }

  /** Workers that ended without being told to. */
  get lost(): number {
    return this.#lost;
  }

  /** What all workers, those that are gone included, did and have, by image. */
  get metrics(): MetricsByImage {
    const sums: MetricsByImage = {};
    sumInto(sums, this.#past);
    for (const worker of this.workers) sumInto(sums, worker.metrics);
    return sums;
  }

  /** The worker that can take a call of this image with the least ado: one with VMs ready for it, then the one that has least to do. */
  pick(image: string): WorkerProcess | undefined {
    let best: WorkerProcess | undefined;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (const worker of this.workers) {
      if (!worker.isUp || worker.running >= worker.max) continue;
      const free = (worker.max - worker.running) / worker.max;
      // More than any share that is free.
      const score = free + (worker.readyOf(image) > 0 ? 1 : 0);
      if (score > bestScore) [best, bestScore] = [worker, score];
    }
    return best;
  }

  /** Resolves when all workers have their `min` VMs. @throws what keeps one from it */
  async ready(): Promise<void> {
    for (const place of this.#places) {
      // As a Pool, which tries again each time it is asked.
      if (place.obstacle === undefined || place.worker?.isUp !== true) continue;
      place.obstacle = undefined;
      place.worker.retryReady();
    }
    while (!this.#isClosed) {
      for (const { obstacle } of this.#places) if (obstacle !== undefined) throw obstacle;
      if (this.#places.every(({ isReady }) => isReady)) return;
      await new Promise<void>((resolve) => this.#onChange.push(resolve));
    }
    throw new BarecellError("BARECELL_POOL_CLOSED", "the pool is closed");
  }

  /** Whether the workers keep the event loop alive: only while somebody waits for them. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    for (const { worker, pause } of this.#places) {
      worker?.hold(isHeld);
      if (isHeld) pause?.ref();
      else pause?.unref();
    }
  }

  #start(place: Place): void {
    place.pause = undefined;
    place.isReady = false;
    const { env, unresponsiveMs } = this.#options;
    let worker: WorkerProcess;
    try {
      worker = new WorkerProcess(
        { start: this.#startMessage(place.share), fds: this.#fds, env, unresponsiveMs },
        {
          up: () => this.#changed(),
          ready: () => {
            place.isReady = true;
            place.obstacle = undefined;
            this.#changed();
          },
          unready: (error) => {
            place.obstacle = error;
            this.#changed();
          },
          free: () => this.#events.free(),
          gone: (reason) => this.#replace(place, reason),
        },
      );
    } catch (error) {
      // Out of descriptors, processes or memory for the moment.
      this.#replace(place, error instanceof Error ? error : new Error(String(error)));
      return;
    }
    place.worker = worker;
    worker.hold(this.#isHeld);
  }

  #startMessage(share: Share): StartMessage {
    const { pool, hostModule } = this.#options;
    return {
      kind: "start",
      parentPid: process.pid,
      images: pool.images.map(({ name, image, vm }, i) => ({
        name,
        bytes: image.bytes,
        fd: FIRST_PASSED_FD + i,
        min: share.mins[i] as number,
        vm,
      })),
      max: share.max,
      idleMs: pool.idleMs,
      memoryBudgetBytes:
        share.memoryBudgetBytes === Number.POSITIVE_INFINITY ? null : share.memoryBudgetBytes,
      hostModule,
    };
  }

  #replace(place: Place, reason: Error | undefined): void {
    const { worker } = place;
    place.worker = undefined;
    place.isReady = false;
    if (worker !== undefined) sumInto(this.#past, worker.metrics, "counts");
    if (this.#isClosed) {
      this.#changed();
      return;
    }
    this.#lost++;
    place.falseStarts = (worker?.ageMs ?? 0) >= SOUND_MS ? 0 : place.falseStarts + 1;
    // The first one is forgiven: any worker may be killed at any moment.
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (place.falseStarts - 2));
    place.pause = setTimeout(() => this.#start(place), place.falseStarts < 2 ? 0 : pauseMs);
    if (!this.#isHeld) place.pause.unref();
    if (reason !== undefined && (place.falseStarts >= GIVE_UP_AFTER || isPermanent(reason)))
      place.obstacle = reason;
    this.#changed();
    if (place.obstacle !== undefined && this.workers.every(({ isUp }) => !isUp))
      this.#events.stuck(place.obstacle);
  }

  #changed(): void {
    for (const tell of this.#onChange.splice(0)) tell();
    this.#events.free();
  }

  /** Lets calls end, then all workers. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { worker, pause } of this.#places) {
      clearTimeout(pause);
      worker?.close();
    }
    this.#changed();
    while (this.workers.length > 0) await new Promise<void>((resolve) => this.#onChange.push(resolve));
  }
}

/** What the worker said itself, and would say again. */
function isPermanent(reason: Error): boolean {
  return reason instanceof BarecellError && reason.code !== "BARECELL_WORKER_LOST";
}
