/**
 * VMs kept ready: each call gets one that is as new, and cleaning happens after its answer. Several images share a number of VMs and a budget of memory; where
 * there are not enough, each image with calls that wait gets the same share.
 */
import type { Image } from "../image/image.ts";
import type { CallOptions } from "../vm/call-options.ts";
import type { MicroVM } from "../vm/micro-vm.ts";
import type { CallResult } from "../vm/values.ts";
import { Keeper } from "./keeper.ts";
import type { Member, PoolCounts } from "./member.ts";
import { checkPoolOptions, type PoolImage, type PoolOptions } from "./options.ts";

/** Now, and so far. */
export interface PoolMetrics extends PoolCounts {
  readonly ready: number;
  readonly running: number;
  readonly cleaning: number;
  readonly booting: number;
  readonly waiting: number;
}

export interface UseOptions {
  /** Ends the waiting for a VM when it is aborted. What is done with the VM then, has its own. */
  readonly signal?: AbortSignal;
}

/** The part of a pool that runs one of its images. */
export class PoolMember {
  readonly #keeper: Keeper;
  readonly #name: string | undefined;

  /** Made by a pool only. */
  constructor(keeper: Keeper, name: string | undefined) {
    this.#keeper = keeper;
    this.#name = name;
  }

  /**
   * Calls a function in a pristine VM.
   * @param args as of `MicroVM.call`, options included; a signal among them holds for waiting too
   * @throws as `MicroVM.call`; BARECELL_POOL_FULL, BARECELL_POOL_TIMEOUT, BARECELL_POOL_CLOSED, and what a boot may raise
   */
  async call(name: string, ...args: unknown[]): Promise<CallResult> {
    return this.use((vm) => vm.call(name, ...args), signalOf(args.at(-1)));
  }

  /** As `call`, on the calling thread, which waits for nobody: BARECELL_POOL_FULL if all VMs are in use. */
  callSync(name: string, ...args: unknown[]): CallResult {
    return this.useSync((vm) => vm.callSync(name, ...args));
  }

  /** As `MicroVM.callBytes`, in a pristine VM. */
  async callBytes(
    name: string,
    input: Uint8Array,
    options: CallOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    return this.use((vm) => vm.callBytes(name, input, options), signalOf(options));
  }

  /** As `MicroVM.callJson`, in a pristine VM. */
  async callJson(name: string, value: unknown, options: CallOptions = {}): Promise<unknown> {
    return this.use((vm) => vm.callJson(name, value, options), signalOf(options));
  }

  /** Lends a pristine VM for several calls; it goes back, and is no longer to be used, when the promise settles. */
  async use<T>(body: (vm: MicroVM) => Promise<T> | T, { signal }: UseOptions = {}): Promise<T> {
    const member = this.#member();
    const vm = await this.#keeper.take(member, signal);
    try {
      return await body(vm);
    } finally {
      this.#keeper.giveBack(member, vm);
    }
  }

  /** As `use`, on the calling thread. */
  useSync<T>(body: (vm: MicroVM) => T): T {
    const member = this.#member();
    const vm = this.#keeper.takeSync(member);
    try {
      return body(vm);
    } finally {
      this.#keeper.giveBack(member, vm);
    }
  }

  get metrics(): PoolMetrics {
    return metricsOf(this.#member());
  }

  #member(): Member {
    return this.#keeper.member(this.#name);
  }
}

/** A pool is its own part for its only image; of several, `image(name)` gives each one's. */
export class Pool extends PoolMember {
  readonly #keeper: Keeper;

  /**
   * @param images one image, or several by name, each with settings of its own if it needs them
   * @throws BARECELL_ARGUMENT_INVALID
   */
  constructor(images: Image | Readonly<Record<string, Image | PoolImage>>, options: PoolOptions = {}) {
    const keeper = new Keeper(checkPoolOptions(images, options));
    super(keeper, undefined);
    this.#keeper = keeper;
  }

  /** Resolves when each image has its `min` VMs ready. @throws what kept a VM from booting */
  async ready(): Promise<void> {
    await this.#keeper.ready();
  }

  /** The part for one of several images. @throws BARECELL_ARGUMENT_INVALID if there is none of that name, BARECELL_POOL_CLOSED */
  image(name: string): PoolMember {
    this.#keeper.member(name);
    return new PoolMember(this.#keeper, name);
  }

  /** Of all images together. */
  override get metrics(): PoolMetrics {
    const all = this.#keeper.members.map(metricsOf);
    const sum = (key: keyof PoolMetrics): number => all.reduce((total, metrics) => total + metrics[key], 0);
    const keys = Object.keys(all[0] ?? {}) as (keyof PoolMetrics)[];
    return Object.fromEntries(keys.map((key) => [key, sum(key)])) as unknown as PoolMetrics;
  }

  /** Lets running calls end, and frees all VMs. What waits, and what comes later, is BARECELL_POOL_CLOSED. Idempotent. */
  async close(): Promise<void> {
    await this.#keeper.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export function metricsOf({ counts, ready, running, cleaning, used, booting, queue }: Member): PoolMetrics {
  return {
    ...counts,
    ready: ready.length,
    running,
    cleaning: cleaning + used.size,
    booting,
    waiting: queue.length,
  };
}

/** The signal of a call's options, for the time that it waits. */
function signalOf(options: unknown): UseOptions {
  if (typeof options !== "object" || options === null || !("signal" in options)) return {};
  return options.signal instanceof AbortSignal ? { signal: options.signal } : {};
}
