/** A microVM: boots an image, calls its exports. */
import { BarecellError, type ErrorCode } from "../errors.ts";
import { bindImports } from "../host/imports.ts";
import { Image } from "../image/image.ts";
import type { ImageExport, Signature } from "../image/manifest.ts";
import { addon, fromNative, type NativeOutcome, type NativeVm, OUTCOME } from "./addon.ts";
import { backtraceOf } from "./backtrace.ts";
import { LinearMemoryView } from "./linear-memory.ts";
import { nativeImage } from "./native-image.ts";
import { type BootOptions, type CheckedBootOptions, checkBootOptions } from "./options.ts";
import { describeTimeline, type Timeline } from "./timeline.ts";
import { describeException, describeReportedTrap } from "./trap.ts";
import { readResults, type WasmValue, writeArguments } from "./values.ts";

/** What a call returns: nothing, one value, or an array for a multi-value function. */
export type CallResult = WasmValue | WasmValue[] | undefined;

export type VmState = "ready" | "running" | "poisoned" | "disposed";

/** VM exits by kind. */
export interface ExitCounts {
  readonly io: number;
  readonly mmio: number;
  readonly other: number;
}

interface Target {
  readonly index: number;
  readonly type: Signature;
}

/**
 * One KVM VM with one vCPU and no guest operating system, running one image. Works in worker threads too; a VM belongs to the thread that
 * booted it.
 */
export class MicroVM {
  readonly image: Image;
  /** Linear memory, checked. */
  readonly memory: LinearMemoryView;
  readonly #native: NativeVm;
  readonly #options: CheckedBootOptions;
  #state: VmState = "ready";
  #running: Promise<unknown> | undefined;
  #released: Promise<void> | undefined;

  private constructor(image: Image, native: NativeVm, options: CheckedBootOptions) {
    this.image = image;
    this.#native = native;
    this.#options = options;
    this.memory = new LinearMemoryView(native, () => this.#state === "disposed");
  }

  /**
   * Creates a VM and starts the image in it, on a thread of its own.
   * @throws BARECELL_ARGUMENT_INVALID, BARECELL_IMPORT_DENIED, BARECELL_MEMORY_LIMIT, BARECELL_IMAGE_CPU, BARECELL_KVM_*, and what the module's
   *   own start may raise: a trap, BARECELL_TIMEOUT, BARECELL_GUEST_EXIT
   */
  static async boot(image: Image, options: BootOptions = {}): Promise<MicroVM> {
    const vm = MicroVM.#create(image, options);
    try {
      vm.#started(await vm.#native.boot(vm.#options.timeoutMs));
      return vm;
    } catch (error) {
      vm.dispose();
      throw fromNative(error);
    }
  }

  /** As `boot`, on the calling thread: the lowest latency, and the event loop waits. */
  static bootSync(image: Image, options: BootOptions = {}): MicroVM {
    const vm = MicroVM.#create(image, options);
    try {
      vm.#started(vm.#native.bootSync(vm.#options.timeoutMs));
      return vm;
    } catch (error) {
      vm.dispose();
      throw fromNative(error);
    }
  }

  static #create(image: Image, options: BootOptions): MicroVM {
    if (!(image instanceof Image)) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        "image must be an Image, as compile() or Image.load() return it",
      );
    }
    const checked = checkBootOptions(image, options);
    const imports = bindImports(
      image,
      checked.hasWasi ? addon().wasiSignatures() : undefined,
      checked.unknownImports,
    );
    try {
      const native = new (addon().Vm)(nativeImage(image), {
        staged: checked.staged,
        maxLinearBytes: checked.maxLinearBytes,
        imports,
        wasi: checked.wasi,
      });
      return new MicroVM(image, native, checked);
    } catch (error) {
      throw fromNative(error);
    }
  }

  #started(outcome: true | NativeOutcome): void {
    if (outcome !== true) throw this.#ended(outcome, "starting the module");
  }

  /** "poisoned": a trap or a kill left the memory as it was in the middle of a call; only `dispose()` helps. */
  get state(): VmState {
    return this.#state;
  }

  /**
   * Calls an exported function on a thread of its own. Works in state "ready".
   * @param args i32, f32 and f64 as numbers, i64 as bigint, v128 as Uint8Array of 16 bytes
   * @throws BARECELL_EXPORT_NOT_FOUND, BARECELL_ARGUMENT_INVALID, BARECELL_BUSY, BARECELL_POISONED, BARECELL_DISPOSED, BARECELL_TRAP_*,
   *   BARECELL_TIMEOUT, BARECELL_GUEST_EXIT, BARECELL_OUTPUT_LIMIT
   */
  async call(name: string, ...args: unknown[]): Promise<CallResult> {
    const target = this.#target(name);
    const slots = writeArguments(name, target.type, args);
    this.#require("ready");
    this.#state = "running";
    const { params, results } = target.type;
    const running = this.#native.call(
      target.index,
      slots,
      params.length,
      results.length,
      this.#options.timeoutMs,
    );
    this.#running = running.catch(() => {});
    try {
      return this.#finished(name, target, slots, await running);
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw fromNative(error);
    } finally {
      this.#running = undefined;
    }
  }

  /** As `call`, on the calling thread: the lowest latency, and the event loop waits. */
  callSync(name: string, ...args: unknown[]): CallResult {
    const target = this.#target(name);
    const slots = writeArguments(name, target.type, args);
    this.#require("ready");
    this.#state = "running";
    const { params, results } = target.type;
    try {
      const outcome = this.#native.callSync(
        target.index,
        slots,
        params.length,
        results.length,
        this.#options.timeoutMs,
      );
      return this.#finished(name, target, slots, outcome);
    } catch (error) {
      if (this.#isRunning()) this.#state = "poisoned";
      throw fromNative(error);
    }
  }

  /**
   * Runs a WASI command's `_start`.
   * @returns its exit status (0 if it returns without one)
   * @throws as `call`, but a guest that exits is no error
   */
  async start(): Promise<number> {
    return exitStatus(() => this.call("_start"));
  }

  #target(name: string): Target {
    if (typeof name !== "string") {
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", "the name of an export must be a string");
    }
    const index = this.image.exports.findIndex((entry) => entry.name === name);
    const found = this.image.exports[index];
    if (found?.kind === "func" && found.type) {
      if (
        [...found.type.params, ...found.type.results].some(
          (type) => type === "funcref" || type === "externref",
        )
      ) {
        throw new BarecellError(
          "BARECELL_ARGUMENT_INVALID",
          `'${name}' takes or returns references, which cannot enter or leave a VM`,
        );
      }
      return { index, type: found.type };
    }
    throw new BarecellError("BARECELL_EXPORT_NOT_FOUND", notFound(this.image, name, found));
  }

  #require(wanted: "ready"): void {
    if (this.#state === wanted) return;
    const reasons: Record<Exclude<VmState, "ready">, readonly [ErrorCode, string]> = {
      running: ["BARECELL_BUSY", "another call of this VM is running; await it first"],
      poisoned: [
        "BARECELL_POISONED",
        "the last call did not return (a trap, a kill or an exit); dispose the VM and boot a new one",
      ],
      disposed: ["BARECELL_DISPOSED", "the VM is disposed; boot a new one"],
    };
    const [code, message] = reasons[this.#state];
    throw new BarecellError(code, message);
  }

  /** A method, so that the compiler does not take an earlier check of the field for granted. */
  #isRunning(): boolean {
    return this.#state === "running";
  }

  #finished(name: string, target: Target, slots: Uint8Array, outcome: true | NativeOutcome): CallResult {
    if (!this.#isRunning())
      throw new BarecellError("BARECELL_DISPOSED", `the VM was disposed during the call of '${name}'`);
    if (outcome !== true) throw this.#ended(outcome, `'${name}'`);
    this.#state = "ready";
    const values = readResults(target.type, slots);
    return values.length > 1 ? values : values[0];
  }

  /** The error for a run that did not come to its end, and the state it leaves. */
  #ended(outcome: NativeOutcome, what: string): BarecellError {
    const keep =
      this.#options.keepAfterTrap && (outcome.kind === OUTCOME.trap || outcome.kind === OUTCOME.exception);
    const backtrace = backtraceOf(this.image, this.#native, outcome);
    if (this.#state !== "disposed") this.#state = keep ? "ready" : "poisoned";
    const error = (code: ErrorCode, message: string): BarecellError =>
      new BarecellError(code, `${what}: ${message}`, { backtrace });
    switch (outcome.kind) {
      case OUTCOME.trap: {
        const trap = describeReportedTrap(outcome.code);
        return error(trap.code, trap.message);
      }
      case OUTCOME.exception: {
        const trap = describeException(outcome, this.image, this.#native);
        return error(trap.code, trap.message);
      }
      case OUTCOME.syscall:
        return error("BARECELL_TRAP_PRIVILEGED_INSTRUCTION", "the guest executed 'syscall'");
      case OUTCOME.timeout:
        return error(
          "BARECELL_TIMEOUT",
          `the guest ran longer than its timeoutMs of ${this.#options.timeoutMs}`,
        );
      case OUTCOME.cancelled:
        return error("BARECELL_DISPOSED", "the VM was disposed while it ran");
      case OUTCOME.outputLimit:
        return error(
          "BARECELL_OUTPUT_LIMIT",
          `the guest wrote more than maxOutputBytes (${this.#options.wasi.maxOutputBytes}) of captured output`,
        );
      case OUTCOME.exit:
        return new BarecellError(
          "BARECELL_GUEST_EXIT",
          `${what}: the guest exited with status ${outcome.code}`,
          {
            exitCode: outcome.code,
          },
        );
      default:
        return error(
          "BARECELL_GUEST_PROTOCOL",
          `the guest left the VM in an unknown way: ${outcome.detail || "it reported out of turn"}`,
        );
    }
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
    if (this.#state === "disposed" || this.#state === "running") this.#require("ready");
    return this.#native.takeOutput(stream);
  }

  /** What the boot spent its time on. Not while a call runs, nor after `dispose()`. */
  get timeline(): Timeline {
    if (this.#state === "disposed" || this.#state === "running") this.#require("ready");
    return describeTimeline(this.#native.timeline());
  }

  /** VM exits so far. Not while a call runs, nor after `dispose()`. */
  get exits(): ExitCounts {
    if (this.#state === "disposed" || this.#state === "running") this.#require("ready");
    return this.#native.exits();
  }

  /**
   * Ends the VM and frees what it holds. A running call is stopped and rejects with BARECELL_DISPOSED. Idempotent, in every state. What a
   * running call holds is freed when it has stopped: `await vm[Symbol.asyncDispose]()` waits for that.
   */
  dispose(): void {
    if (this.#released !== undefined) return;
    this.#state = "disposed";
    if (this.#running === undefined) {
      this.#native.dispose();
      this.#released = Promise.resolve();
      return;
    }
    this.#native.cancel();
    this.#released = this.#running.then(() => this.#native.dispose());
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
    await this.#released;
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

function notFound(image: Image, name: string, found: ImageExport | undefined): string {
  if (found) return `the export '${name}' is a ${found.kind}, not a function`;
  const functions = image.exports.filter((entry) => entry.kind === "func").map((entry) => entry.name);
  const shown = functions.slice(0, 12).join(", ") + (functions.length > 12 ? ", …" : "");
  return `'${image.manifest.module.name}' exports no function '${name}'; it exports: ${shown === "" ? "none" : shown}`;
}
