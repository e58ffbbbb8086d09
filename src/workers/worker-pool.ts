/**
 * A pool whose VMs live in several processes: what making and ending a VM costs grows with the VMs of its process, and a process that dies takes only its
 * own VMs along.
 */
import { BarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { PoolImage } from "../pool/options.ts";
import type { PoolMetrics } from "../pool/pool.ts";
import { decodeJson, encodeJson } from "../vm/bytes-call.ts";
import type { CallOptions } from "../vm/call-options.ts";
import type { CallResult } from "../vm/values.ts";
import { requireHostLimits } from "./capacity.ts";
import { Dispatcher } from "./dispatcher.ts";
import { checkWorkerPoolOptions, type WorkerPoolOptions } from "./options.ts";
import { type PreparedCall, prepareBytes, prepareCall } from "./requests.ts";
import { add, NO_METRICS } from "./worker-metrics.ts";

/** Of all images together. What workers have is what they last said: up to some milliseconds old. */
export interface WorkerPoolMetrics extends PoolMetrics {
  /** Processes that take calls. */
  readonly workers: number;
  /** Processes that ended without being told to, so far. */
  readonly workersLost: number;
}

/** The part of a pool that runs one of its images. */
export class WorkerPoolMember {
  readonly #dispatcher: Dispatcher;
  readonly #images: ReadonlyMap<string, Image>;
  readonly #name: string | undefined;

  /** Made by a pool only. */
  constructor(dispatcher: Dispatcher, images: ReadonlyMap<string, Image>, name: string | undefined) {
    this.#dispatcher = dispatcher;
    this.#images = images;
    this.#name = name;
  }

  /**
   * Calls a function in a pristine VM of one of the processes.
   * @param args as of `MicroVM.call`, options included, but no references: a function that takes (other than null) or returns them is refused
   * @throws as `Pool.call`; BARECELL_WORKER_LOST if the process ended before it had answered: how far the call came is not known then
   */
  async call(name: string, ...args: unknown[]): Promise<CallResult> {
    const [image, found] = this.#find();
    return (await this.#send(image, prepareCall(found, name, args))) as CallResult;
  }

  /** As `MicroVM.callBytes`, in a pristine VM of one of the processes. */
  async callBytes(
    name: string,
    input: Uint8Array,
    options: CallOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const [image] = this.#find();
    return (await this.#send(image, prepareBytes(name, input, options))) as Uint8Array<ArrayBuffer>;
  }

  /** As `MicroVM.callJson`, in a pristine VM of one of the processes. */
  async callJson(name: string, value: unknown, options: CallOptions = {}): Promise<unknown> {
    return decodeJson(name, await this.callBytes(name, encodeJson(value), options));
  }

  get metrics(): PoolMetrics {
    const [image] = this.#find();
    return this.#dispatcher.metrics[image] ?? NO_METRICS;
  }

  async #send(image: string, call: PreparedCall): Promise<unknown> {
    return ownBytes(await this.#dispatcher.call(image, call));
  }

  #find(): [name: string, image: Image] {
    return findImage(this.#images, this.#name);
  }
}

/** A pool is its own part for its only image; of several, `image(name)` gives each one's. */
export class WorkerPool extends WorkerPoolMember {
  readonly #dispatcher: Dispatcher;
  readonly #images: ReadonlyMap<string, Image>;

  /**
   * Starts the processes.
   * @param images one image, or several by name, each with settings of its own if it needs them
   * @throws BARECELL_ARGUMENT_INVALID, BARECELL_HOST_LIMIT, BARECELL_IMAGE_CPU, BARECELL_ADDON_MISSING
   */
  constructor(images: Image | Readonly<Record<string, Image | PoolImage>>, options: WorkerPoolOptions = {}) {
    const checked = checkWorkerPoolOptions(images, options);
    requireHostLimits(checked);
    const dispatcher = new Dispatcher(checked);
    const byName = new Map(checked.pool.images.map(({ name, image }) => [name, image]));
    super(dispatcher, byName, undefined);
    this.#dispatcher = dispatcher;
    this.#images = byName;
  }

  /**
   * Resolves when each image has its `min` VMs ready.
   * @throws what kept a VM from booting; BARECELL_HOST_MODULE_FAILED; BARECELL_WORKER_LOST if a process ends again and again
   */
  async ready(): Promise<void> {
    await this.#dispatcher.ready();
  }

  /** The part for one of several images. @throws BARECELL_ARGUMENT_INVALID if there is none of that name, BARECELL_POOL_CLOSED */
  image(name: string): WorkerPoolMember {
    if (this.#dispatcher.isClosed) throw new BarecellError("BARECELL_POOL_CLOSED", "the pool is closed");
    findImage(this.#images, String(name));
    return new WorkerPoolMember(this.#dispatcher, this.#images, name);
  }

  override get metrics(): WorkerPoolMetrics {
    const { crew, metrics } = this.#dispatcher;
    const sum = Object.values(metrics).reduce((a, b) => add(a, b), NO_METRICS);
    return { ...sum, workers: crew.workers.filter(({ isUp }) => isUp).length, workersLost: crew.lost };
  }

  /** Process numbers of the workers, for the tools of the system. */
  get pids(): readonly number[] {
    return this.#dispatcher.crew.workers.flatMap(({ pid }) => pid ?? []);
  }

  /** Lets running calls end, and ends all processes. What waits, and what comes later, is BARECELL_POOL_CLOSED. Idempotent. */
  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function findImage(images: ReadonlyMap<string, Image>, name: string | undefined): [string, Image] {
  const [only] = images;
  if (name === undefined && images.size === 1 && only !== undefined) return only;
  const found = images.get(name ?? "");
  if (name !== undefined && found !== undefined) return [name, found];
  const names = [...images.keys()].slice(0, 12).join(", ");
  throw new BarecellError(
    "BARECELL_ARGUMENT_INVALID",
    name === undefined
      ? `the pool has several images; name one: pool.image("…").call(…). There are: ${names}`
      : `the pool has no image '${name}'; it has: ${names}`,
  );
}

/** Bytes that came in a message are a part of it: each gets its own. */
function ownBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  return Array.isArray(value) ? value.map(ownBytes) : value;
}
