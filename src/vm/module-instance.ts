/** One of the modules that run in a VM: its exported functions, globals and memory. */
import { BC_SLOT_BYTES } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { ImageExport, ImageModule, Signature, ValueType } from "../image/manifest.ts";
import { checkCallOptions, hasOptions } from "./call-options.ts";
import type { EntryRun, Execution, Runner } from "./execution.ts";
import { LinearMemoryView } from "./linear-memory.ts";
import type { References } from "./references.ts";
import { giveBackSlots, type Slots, takeSlots } from "./slots.ts";
import {
  type Callee,
  type CallResult,
  readResult,
  readValue,
  viewOf,
  type WasmValue,
  writeArguments,
  writeValue,
} from "./values.ts";

type GlobalExport = Extract<ImageExport, { kind: "global" }>;

/** Functions that were called before, of whatever VM: making a VM and calling it once should not begin with strings. */
const targetsOf = new WeakMap<ImageModule, Map<string, Target>>();

function knownTargets(module: ImageModule): Map<string, Target> {
  const known = targetsOf.get(module) ?? new Map<string, Target>();
  targetsOf.set(module, known);
  return known;
}

/** A function of a module as a call needs it. */
interface Target extends Callee {
  /** For messages. */
  readonly what: string;
  readonly entry: number;
  readonly slotCount: number;
}

/** A memory that no VM has: a view of it has no bytes. */
const NO_MEMORY = 0xffff_ffff;

/** Results as bytes. Of a slot only a v128 fills more than the lower half; in the upper one may be something of an earlier call's. */
function rawResults(types: readonly ValueType[], slots: Uint8Array): Uint8Array {
  const bytes = slots.slice(0, types.length * BC_SLOT_BYTES);
  types.forEach((type, i) => {
    if (type !== "v128") bytes.fill(0, i * BC_SLOT_BYTES + BC_SLOT_BYTES / 2, (i + 1) * BC_SLOT_BYTES);
  });
  return bytes;
}

export class ModuleInstance {
  readonly name: string;
  /** The module's linear memory 0, checked; of no bytes if it has none. */
  readonly memory: LinearMemoryView;
  readonly #module: ImageModule;
  readonly #execution: Execution;
  readonly #references: References;
  /** "begun" stays where it did not come to its end: half an instance is no instance. */
  #instantiation: "none" | "begun" | "done";
  readonly #targets: Map<string, Target>;
  /** In which of the VM's lives `_initialize` ran. */
  #initializedIn: number | undefined;
  /** That it ran before the snapshot was taken which is the VM's image. */
  readonly #isInitializedInImage: boolean;

  /** Made by a VM only. */
  constructor(module: ImageModule, execution: Execution, references: References) {
    this.name = module.name;
    this.#module = module;
    this.#targets = knownTargets(module);
    this.#execution = execution;
    this.#references = references;
    this.#instantiation = module.instantiateEntry === null ? "done" : "none";
    const { snapshot, modules } = execution.image.manifest;
    this.#isInitializedInImage = snapshot?.initialized.includes(modules.indexOf(module)) ?? false;
    execution.onReset(() => {
      this.#instantiation = module.instantiateEntry === null ? "done" : "none";
    });
    const check = (): void => {
      if (execution.state === "disposed" || execution.isResetting) execution.requireReady();
      // What is written before would be there instead of the module's own data afterwards. What a failure left, one may look at.
      if (this.#instantiation === "none") this.#requireInstantiated();
    };
    this.memory = new LinearMemoryView(execution.native, { index: module.memory ?? NO_MEMORY, check });
  }

  /** Whether its exports can be used. */
  get isInstantiated(): boolean {
    return this.#instantiation === "done";
  }

  /** Its instantiation was begun, and did not come to its end. */
  get isHalfInstantiated(): boolean {
    return this.#instantiation === "begun";
  }

  get exports(): readonly ImageExport[] {
    return this.#module.exports;
  }

  /** Whether it is a reactor of WASI that was not started yet: `_initialize` is to be called before all other functions. */
  get needsInitialize(): boolean {
    return (
      !this.#isInitializedInImage &&
      this.#initializedIn !== this.#execution.life &&
      this.#module.exports.some(({ kind, name }) => kind === "func" && name === "_initialize")
    );
  }

  /** As `MicroVM.call`, of this module's functions. */
  call(name: string, ...args: unknown[]): Promise<CallResult> {
    return this.callThrough(this.#execution, name, args);
  }

  /** As `MicroVM.callSync`, of this module's functions. */
  callSync(name: string, ...args: unknown[]): CallResult {
    return this.callThroughSync(this.#execution, name, args);
  }

  /** For host functions, which call through their own way into the guest. @internal */
  async callThrough(runner: Runner, name: string, args: readonly unknown[]): Promise<CallResult> {
    const target = this.#function(name);
    const slots = takeSlots(target.slotCount);
    await runner.run(this.#callOf(target, args, slots));
    return this.#returned(target, slots);
  }

  /** As `callThrough`, on the calling thread. @internal */
  callThroughSync(runner: Runner, name: string, args: readonly unknown[]): CallResult {
    const target = this.#function(name);
    const slots = takeSlots(target.slotCount);
    runner.runSync(this.#callOf(target, args, slots));
    return this.#returned(target, slots);
  }

  /**
   * Calls a function with arguments and results as bytes, 16 for each value, little-endian: what JavaScript's numbers do not keep, the bits of a NaN above
   * all. References are numbers here: 0 is null; of an externref any 64 bits are given back as they were, of a funcref only those that a call returned.
   * @throws as `call`
   */
  async callRaw(name: string, args: Uint8Array): Promise<Uint8Array> {
    const { type, run } = this.#rawCall(name, args);
    await this.#execution.run(run);
    return rawResults(type.results, run.slots);
  }

  /** As `callRaw`, on the calling thread. */
  callRawSync(name: string, args: Uint8Array): Uint8Array {
    const { type, run } = this.#rawCall(name, args);
    this.#execution.runSync(run);
    return rawResults(type.results, run.slots);
  }

  /**
   * The value of an exported global, now.
   * @throws BARECELL_EXPORT_NOT_FOUND, BARECELL_NOT_INSTANTIATED, and what the VM's state forbids
   */
  global(name: string): WasmValue {
    return readValue(viewOf(this.globalRaw(name)), 0, this.#global(name).type, this.#references);
  }

  /** As `global`, as 16 bytes; see `callRaw`. */
  globalRaw(name: string): Uint8Array {
    const slots = new Uint8Array(BC_SLOT_BYTES);
    const { type, getEntry: entry } = this.#global(name);
    this.#execution.runSync({ ...this.#globalRun(name), entry, slots, resultCount: 1 });
    return rawResults([type], slots);
  }

  /** Sets an exported mutable global. @throws as `global`; BARECELL_ARGUMENT_INVALID for a constant or a value of another type */
  setGlobal(name: string, value: unknown): void {
    const { type, setEntry } = this.#global(name);
    if (setEntry === null) {
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", `the global '${name}' is a constant`);
    }
    const slots = new Uint8Array(BC_SLOT_BYTES);
    writeValue(new DataView(slots.buffer), 0, type, value, this.#references, `the value of '${name}'`);
    this.#execution.runSync({ ...this.#globalRun(name), entry: setEntry, slots, argumentCount: 1 });
  }

  #globalRun(name: string): Omit<EntryRun, "entry" | "slots"> {
    return { ...this.#plainRun, what: `global '${name}'`, touchesNoStream: true };
  }

  /** For `MicroVM.instantiate`. @throws BARECELL_NOT_INSTANTIATED if it was tried before */
  async instantiate(): Promise<void> {
    const run = this.#instantiationRun();
    await this.#execution.run(run);
    this.#instantiation = "done";
  }

  /** As `instantiate`, on the calling thread. */
  instantiateSync(): void {
    this.#execution.requireSynchronous(`instantiating '${this.name}'`);
    const run = this.#instantiationRun();
    this.#execution.runSync(run);
    this.#instantiation = "done";
  }

  #instantiationRun(): EntryRun {
    const entry = this.#module.instantiateEntry;
    if (entry === null || this.#instantiation !== "none") {
      const began = this.#instantiation === "begun";
      const why = began ? "cannot be instantiated a second time" : "was instantiated before";
      throw new BarecellError(
        "BARECELL_NOT_INSTANTIATED",
        `the module '${this.name}' ${entry === null ? "is instantiated at boot" : why}`,
      );
    }
    this.#execution.requireReady();
    this.#instantiation = "begun";
    const slots = new Uint8Array(BC_SLOT_BYTES);
    const what = `instantiating '${this.name}'`;
    return { ...this.#plainRun, what, entry, slots, instantiates: true };
  }

  /** A run without options, arguments or results. */
  get #plainRun(): Omit<EntryRun, "what" | "entry" | "slots"> {
    return {
      kind: "call",
      name: undefined,
      argumentCount: 0,
      resultCount: 0,
      limits: this.#execution.options.limits,
      signal: undefined,
      instantiates: false,
      touchesNoStream: false,
    };
  }

  /** Written out: copying properties from object to object would be most of what a warm call does in JavaScript. */
  #callOf(target: Target, args: readonly unknown[], { bytes, view }: Slots): EntryRun {
    const { name, what, type, entry } = target;
    const argumentCount = type.params.length;
    let { limits } = this.#execution.options;
    let signal: AbortSignal | undefined;
    let values = args;
    if (hasOptions(args, argumentCount)) {
      ({ limits, signal } = checkCallOptions(args[argumentCount] as object, limits));
      values = args.slice(0, argumentCount);
    }
    writeArguments(target, values, view, this.#references);
    return {
      kind: "call",
      what,
      name,
      entry,
      slots: bytes,
      argumentCount,
      resultCount: type.results.length,
      limits,
      signal,
      instantiates: false,
      touchesNoStream: false,
    };
  }

  #rawCall(name: string, args: Uint8Array): { type: Signature; run: EntryRun } {
    const { what, type, entry } = this.#function(name);
    const argumentCount = type.params.length;
    if (!(args instanceof Uint8Array) || args.length !== argumentCount * BC_SLOT_BYTES) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        `the arguments of '${name}' must be a Uint8Array of ${argumentCount * BC_SLOT_BYTES} bytes`,
      );
    }
    const resultCount = type.results.length;
    const slots = new Uint8Array(Math.max(argumentCount, resultCount) * BC_SLOT_BYTES);
    slots.set(args);
    const run = { ...this.#plainRun, what, name, entry, slots, argumentCount, resultCount };
    return { type, run };
  }

  #returned({ name, type }: Target, slots: Slots): CallResult {
    if (name === "_initialize") this.#initializedIn = this.#execution.life;
    const result = readResult(type, slots.view, this.#references);
    giveBackSlots(slots);
    return result;
  }

  #function(name: string): Target {
    const known = this.#targets.get(name);
    if (known === undefined) return this.#newTarget(name);
    this.#requireInstantiated();
    return known;
  }

  #newTarget(name: string): Target {
    const found = this.#find(name);
    if (found?.kind !== "func") {
      throw new BarecellError("BARECELL_EXPORT_NOT_FOUND", this.#notFound(name, "func", "function", found));
    }
    const { type, entry } = found;
    const slotCount = Math.max(type.params.length, type.results.length);
    const argumentNames = type.params.map((_, i) => `argument ${i + 1} of '${name}'`);
    const target: Target = { name, what: `'${name}'`, type, argumentNames, entry, slotCount };
    this.#targets.set(name, target);
    return target;
  }

  #global(name: string): GlobalExport {
    const found = this.#find(name);
    if (found?.kind === "global") return found;
    throw new BarecellError("BARECELL_EXPORT_NOT_FOUND", this.#notFound(name, "global", "global", found));
  }

  #find(name: string): ImageExport | undefined {
    if (typeof name !== "string") {
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", "the name of an export must be a string");
    }
    this.#requireInstantiated();
    return this.#module.exports.find((entry) => entry.name === name);
  }

  #requireInstantiated(): void {
    if (this.#instantiation === "done") return;
    const why =
      this.#instantiation === "none"
        ? "is not instantiated yet"
        : "is not instantiated: that was begun and did not come to its end";
    throw new BarecellError("BARECELL_NOT_INSTANTIATED", `the module '${this.name}' ${why}`);
  }

  #notFound(name: string, kind: ImageExport["kind"], word: string, found: ImageExport | undefined): string {
    if (found) return `the export '${name}' is a ${found.kind}, not a ${word}`;
    const names = this.#module.exports.filter((entry) => entry.kind === kind).map((entry) => entry.name);
    const shown = names.slice(0, 12).join(", ") + (names.length > 12 ? ", …" : "");
    return `'${this.name}' exports no ${word} '${name}'; it exports: ${shown === "" ? "none" : shown}`;
  }
}
