/** An engine without VMs, for tests of all that is not the VM: modules are read and linked by barecell, functions are the test's. */
import { createBarecell } from "./barecell.ts";
import { SLOT_BYTES } from "./constants.ts";
import type { Engine, EngineImage, EngineModule, EngineVm } from "./engine.ts";

const barecell = createBarecell({ targetCpu: "host" });

/** An error as barecell's are. */
export class FakeError extends Error {
  readonly code: string;
  constructor(code: string, message = "made up") {
    super(message);
    this.code = code;
  }
}

export interface FakeBehaviour {
  /** What an exported function does, by its name: it may throw a FakeError. */
  readonly functions?: Readonly<Record<string, (slots: Uint8Array) => Uint8Array>>;
  /** Throws a FakeError for what cannot be compiled. */
  readonly onCompile?: (modules: readonly EngineModule[]) => void;
  /** Throws a FakeError for a module that does not come to be. */
  readonly onInstantiate?: (name: string) => void;
}

export class FakeEngine implements Engine {
  /** Names of the modules of each image that was compiled. */
  readonly compiled: string[][] = [];
  /** Names in the order of instantiation. */
  readonly instantiated: string[] = [];
  liveVms = 0;
  readonly #behaviour: FakeBehaviour;

  constructor(behaviour: FakeBehaviour = {}) {
    this.#behaviour = behaviour;
  }

  validate = barecell.validate;
  checkLinks = barecell.checkLinks;
  translate = async (): Promise<void> => {};

  async compile(modules: readonly EngineModule[]): Promise<EngineImage> {
    this.#behaviour.onCompile?.(modules);
    this.compiled.push(modules.map(({ name }) => name));
    return { boot: () => this.#boot() };
  }

  #boot(): EngineVm {
    this.liveVms++;
    return {
      instantiate: (name) => {
        this.instantiated.push(name);
        this.#behaviour.onInstantiate?.(name);
      },
      call: (_, name, slots) => this.#behaviour.functions?.[name]?.(slots) ?? new Uint8Array(SLOT_BYTES),
      global: () => new Uint8Array(SLOT_BYTES),
      dispose: () => {
        this.liveVms--;
      },
    };
  }
}

/** A slot with the number as i32. */
export function slotOf(value: number): Uint8Array {
  const slot = new Uint8Array(SLOT_BYTES);
  new DataView(slot.buffer).setInt32(0, value, true);
  return slot;
}
