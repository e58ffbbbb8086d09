/** A microVM: boots an image, calls its exports. */
import { BarecellError } from "../errors.ts";
import { Image } from "../image/image.ts";
import { VmObserver } from "../observe/vm-observer.ts";
import { callBytes, callBytesSync, decodeJson, encodeJson } from "./bytes-call.ts";
import type { CallOptions } from "./call-options.ts";
import { createExecution } from "./create-execution.ts";
import type { Execution, Runner, VmState } from "./execution.ts";
import type { GuestSide } from "./host-calls.ts";
import { type Frame, nameOf, staleContext } from "./host-context.ts";
import type { LinearMemoryView } from "./linear-memory.ts";
import { ModuleInstance } from "./module-instance.ts";
import type { BootOptions } from "./options.ts";
import { References } from "./references.ts";
import { takeSnapshot } from "./snapshot.ts";
import { readStats, type VmStats } from "./stats.ts";
import { describeTimeline, type Timeline } from "./timeline.ts";
import type { CallResult, WasmValue } from "./values.ts";

/** VM exits by kind. */
export interface ExitCounts {
  readonly io: number;
  readonly mmio: number;
  readonly other: number;
}

/**
 * One KVM VM with one vCPU and no guest operating system, running one image. Works in worker threads too; a VM belongs to the thread that
 * booted it.
 */
export class MicroVM {
  readonly image: Image;
  readonly #execution: Execution;
  readonly #modules: readonly ModuleInstance[];
  readonly #main: ModuleInstance;
  readonly #references = new References();
  #isBooted = false;

  private constructor(image: Image, options: BootOptions, observer: VmObserver) {
    if (!(image instanceof Image)) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        "image must be an Image, as compile() or Image.load() return it",
      );
    }
    this.image = image;
    const references = this.#references;
    this.#execution = createExecution(image, options, references, this.#guestSide(), observer);
    this.#execution.onReset(() => references.clear());
    this.#modules = image.modules.map((module) => new ModuleInstance(module, this.#execution, references));
    this.#main = this.#modules.at(-1) as ModuleInstance;
  }

  /**
   * Creates a VM and starts the image in it, on a thread of its own.
   * @throws BARECELL_ARGUMENT_INVALID, BARECELL_IMPORT_DENIED, BARECELL_MEMORY_LIMIT, BARECELL_IMAGE_CPU, BARECELL_KVM_*, BARECELL_HOST_LIMIT, and what the modules'
   *   own start may raise: a trap, BARECELL_LINK_FAILED, BARECELL_TIMEOUT, BARECELL_GUEST_EXIT,
   *   BARECELL_STREAM_FAILED
   */
  static async boot(image: Image, options: BootOptions = {}): Promise<MicroVM> {
    const observer = new VmObserver(image?.name);
    return observer.boot(async () => {
      const vm = new MicroVM(image, options, observer);
      try {
        await vm.#execution.boot();
        vm.#isBooted = true;
        return vm;
      } catch (error) {
        vm.dispose();
        throw error;
      }
    });
  }

  /** As `boot`, on the calling thread: the lowest latency, and the event loop waits. @throws BARECELL_STREAM_NEEDS_ASYNC besides */
  static bootSync(image: Image, options: BootOptions = {}): MicroVM {
    const observer = new VmObserver(image?.name);
    return observer.bootSync(() => {
      const vm = new MicroVM(image, options, observer);
      try {
        vm.#execution.bootSync();
        vm.#isBooted = true;
        return vm;
      } catch (error) {
        vm.dispose();
        throw error;
      }
    });
  }

  /** How host functions call back into the guest. */
  #guestSide(): GuestSide {
    const target = (frame: Frame): ModuleInstance => {
      if (!frame.isLive) throw staleContext(frame);
      if (this.#isBooted && !this.#execution.isResetting)
        return this.#modules[frame.import.importer] as ModuleInstance;
      throw new BarecellError(
        "BARECELL_NOT_INSTANTIATED",
        `the host function ${nameOf(frame)} cannot call the guest while that is being started`,
      );
    };
    const runner = (frame: Frame): Runner => ({
      run: (run) => this.#execution.runInner(frame, run),
      runSync: (run) => this.#execution.runInnerSync(frame, run),
    });
    return {
      call: async (frame, name, args) => target(frame).callThrough(runner(frame), name, args),
      callSync: (frame, name, args) => target(frame).callThroughSync(runner(frame), name, args),
      broken: () => this.#execution.broken,
    };
  }

  /** Its number in events and traces: unique in its thread. */
  get id(): number {
    return this.#execution.observer.id;
  }

  /** "poisoned": a trap or a kill left the memory as it was in the middle of a call; `reset()` makes it usable again. */
  get state(): VmState {
    return this.#execution.state;
  }

  /** Linear memory of the main module, checked. */
  get memory(): LinearMemoryView {
    return this.#main.memory;
  }

  /** In the order in which they are instantiated. */
  get modules(): readonly ModuleInstance[] {
    return this.#modules;
  }

  /** One of several modules, by its name. @throws BARECELL_ARGUMENT_INVALID if there is none of that name */
  module(name: string): ModuleInstance {
    const found = this.#modules.find((module) => module.name === name);
    if (found) return found;
    const names = this.#modules.map((module) => `'${module.name}'`).slice(0, 12);
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `the image has no module '${String(name)}'; it has ${names.join(", ")}`,
    );
  }

  /**
   * Instantiates a module of an image that was compiled with `instantiate: "on-demand"`: its segments are written, its start function runs. Only
   * once, and after the modules it imports from.
   * @throws as `call`, BARECELL_LINK_FAILED, BARECELL_NOT_INSTANTIATED
   */
  async instantiate(name: string): Promise<void> {
    await this.#toInstantiate(name).instantiate();
  }

  /** As `instantiate`, on the calling thread. */
  instantiateSync(name: string): void {
    this.#toInstantiate(name).instantiateSync();
  }

  #toInstantiate(name: string): ModuleInstance {
    const module = this.module(name);
    const missing = this.#imported(this.#modules.indexOf(module)).find((other) => !other.isInstantiated);
    if (missing === undefined) return module;
    throw new BarecellError(
      "BARECELL_NOT_INSTANTIATED",
      `'${name}' imports from '${missing.name}', which is not instantiated`,
    );
  }

  #imported(index: number): ModuleInstance[] {
    const places = this.image.modules[index]?.importsFrom ?? [];
    return places.flatMap((place) => this.#modules[place] ?? []);
  }

  /**
   * Calls an exported function of the main module on a thread of its own. Works in state "ready".
   * @param args i32, f32 and f64 as numbers, i64 as bigint, v128 as Uint8Array of 16 bytes, funcref as FunctionReference or null, externref as anything
   *   After them an object of CallOptions may follow: `vm.call("f", 1, { signal, timeoutMs: 50 })`.
   * @throws BARECELL_EXPORT_NOT_FOUND, BARECELL_ARGUMENT_INVALID, BARECELL_BUSY, BARECELL_POISONED, BARECELL_DISPOSED, BARECELL_TRAP_*,
   *   BARECELL_TIMEOUT, BARECELL_CANCELLED, BARECELL_HOST_CALL_LIMIT, BARECELL_HOST_FUNCTION_FAILED, BARECELL_HOST_FUNCTION_ASYNC,
   *   BARECELL_GUEST_EXIT, BARECELL_OUTPUT_LIMIT, BARECELL_STREAM_FAILED
   */
  call(name: string, ...args: unknown[]): Promise<CallResult> {
    // Not async itself, as is none of the functions below that only pass a promise on: each would be three more turns of the microtask queue.
    return this.#main.callThrough(this.#execution, name, args);
  }

  /** As `call`, on the calling thread: the lowest latency, and the event loop waits. @throws BARECELL_STREAM_NEEDS_ASYNC besides */
  callSync(name: string, ...args: unknown[]): CallResult {
    return this.#main.callThroughSync(this.#execution, name, args);
  }

  /**
   * Passes bytes to an exported function and takes bytes back, by the convention of docs/guest-convention.md: several calls of the guest, to which the options
   * apply one by one, but for `timeoutMs`, which is for all of them.
   * @throws as `call`; BARECELL_RESULT_INVALID if the guest breaks the convention
   */
  callBytes(name: string, input: Uint8Array, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    return callBytes(this.#main, name, input, options);
  }

  /** As `callBytes`, on the calling thread. */
  callBytesSync(name: string, input: Uint8Array, options?: CallOptions): Uint8Array<ArrayBuffer> {
    return callBytesSync(this.#main, name, input, options);
  }

  /** As `callBytes`, with JSON text of a value in and out. */
  async callJson(name: string, value: unknown, options?: CallOptions): Promise<unknown> {
    return decodeJson(name, await this.callBytes(name, encodeJson(value), options));
  }

  /** As `callJson`, on the calling thread. */
  callJsonSync(name: string, value: unknown, options?: CallOptions): unknown {
    return decodeJson(name, this.callBytesSync(name, encodeJson(value), options));
  }

  /** The value of a global that the main module exports, now. */
  global(name: string): WasmValue {
    return this.#main.global(name);
  }

  /** Sets a mutable global that the main module exports. */
  setGlobal(name: string, value: unknown): void {
    this.#main.setGlobal(name, value);
  }

  /**
   * Runs a WASI command's `_start`.
   * @returns its exit status (0 if it returns without one)
   * @throws as `call`, but a guest that exits is no error
   */
  async start(): Promise<number> {
    return exitStatus(() => this.call("_start"));
  }

  /**
   * Brings the VM back to what it was when `boot` had made it, as if it had never been called: memory and its size, tables, globals, registers, and what
   * WASI granted (descriptors, directories in memory, limits, clocks, captured output). Random numbers start from a new seed. References that the guest
   * gave out are void. Works in states "ready" and "poisoned".
   * What lies outside of the VM stays: files in directories of the host, what was read from or written to descriptors that were handed in.
   * If the modules' own start asked the host for something or grew a memory, they are started again, in a new VM behind this object: that takes as long as
   * a boot, and may raise what a boot does.
   * @throws BARECELL_BUSY, BARECELL_DISPOSED, BARECELL_KVM_FAILED, BARECELL_HOST_LIMIT
   */
  reset(): Promise<void> {
    return this.#execution.reset();
  }

  /** As `reset`, on the calling thread: a few microseconds for a VM that wrote little. */
  resetSync(): void {
    this.#execution.resetSync();
  }

  /**
   * The VM's state as an image, from which other VMs boot straight to where this one is: memory and its size, tables, globals, which modules are
   * instantiated. `save()` writes it to a file. What a new VM is granted, its `boot` says as always; random numbers start from a seed of its own, and its
   * clocks go on from here. This VM goes on as before. Works in state "ready".
   * @throws BARECELL_SNAPSHOT_REFUSED saying what the guest still holds: open descriptors, files in memory, JavaScript values;
   *   BARECELL_BUSY, BARECELL_POISONED, BARECELL_DISPOSED
   */
  async snapshot(): Promise<Image> {
    return takeSnapshot(this.#execution, this.#modules, this.#references);
  }

  /** What the guest wrote to a captured standard output since the last time. Not while a call runs, nor after `dispose()`. */
  stdout(): Uint8Array<ArrayBuffer> {
    return this.#output("stdout");
  }

  /** As `stdout`. */
  stderr(): Uint8Array<ArrayBuffer> {
    return this.#output("stderr");
  }

  #output(stream: "stdout" | "stderr"): Uint8Array<ArrayBuffer> {
    this.#execution.requireIdle();
    return this.#execution.native.takeOutput(stream);
  }

  /** What the boot spent its time on. Not while a call runs, nor after `dispose()`. */
  get timeline(): Timeline {
    this.#execution.requireIdle();
    return describeTimeline(this.#execution.native.timeline());
  }

  /**
   * Fuel that the last call used up (or the boot, before the first call); what is counted says docs/limits.md. After a trap too; not while a call runs, nor
   * after `dispose()`.
   * @throws BARECELL_METERING_MISSING if the image was not compiled with `metering: true`
   */
  get fuelUsed(): bigint {
    this.#execution.requireIdle();
    return this.#execution.fuel.used;
  }

  /** VM exits so far. Not while a call runs, nor after `dispose()`. */
  get exits(): ExitCounts {
    this.#execution.requireIdle();
    return this.#execution.native.exits();
  }

  /** What the VM did and used so far. Not while a call runs, nor after `dispose()`. */
  stats(): VmStats {
    return readStats(this.#execution);
  }

  /**
   * Ends the VM and frees what it holds. A running call is stopped and rejects with BARECELL_DISPOSED. Idempotent, in every state. What a
   * running call holds is freed when it has stopped: `await vm[Symbol.asyncDispose]()` waits for that.
   */
  dispose(): void {
    this.#execution.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await this.#execution.released();
  }
}

/** Takes a guest's exit as a value. */
async function exitStatus(run: () => Promise<unknown>): Promise<number> {
  try {
    await run();
    return 0;
  } catch (error) {
    if (error instanceof BarecellError && error.code === "BARECELL_GUEST_EXIT") return error.exitCode ?? 0;
    throw error;
  }
}
