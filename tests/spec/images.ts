/**
 * Which instances share an image, and so a VM: those that import from each other must; others do because one compilation and one boot for many is
 * much faster. Instances in one image that are not linked cannot see each other.
 */
import { describeError, type Engine, type EngineImage, type EngineVm, isCodedError } from "./engine.ts";
import { engineModule, type Instance, withDependencies } from "./plan.ts";
import type { Preparer, Problem } from "./prepare.ts";

/** Instances that share memories, tables, globals or functions, in the order of the script. */
export type Group = readonly Instance[];

/**
 * @param host instances that import no more of it than functions and constants are not connected by that: each image may have its own
 */
export function groupByLinks(instances: readonly Instance[], host: Instance): Group[] {
  const parents = new Map<Instance, Instance>();
  const rootOf = (instance: Instance): Instance => {
    let at = instance;
    for (let up = parents.get(at); up !== undefined && up !== at; up = parents.get(at)) at = up;
    return at;
  };
  for (const instance of instances) {
    for (const [module, other] of instance.links) {
      if (other !== host || importsState(instance, module)) parents.set(rootOf(instance), rootOf(other));
    }
  }
  const groups = new Map<Instance, Instance[]>();
  for (const instance of instances) {
    const root = rootOf(instance);
    const group = groups.get(root);
    if (group) group.push(instance);
    else groups.set(root, [instance]);
  }
  return [...groups.values()];
}

const importsState = (instance: Instance, from: string): boolean =>
  instance.shape.imports.some(
    ({ module, kind, mutable }) =>
      module === from && (kind === "memory" || kind === "table" || (kind === "global" && mutable)),
  );

/** The memories of a VM have 4 GiB together; half of that is left for growth. */
const MOST_PAGES = 32_768;

/** Fills images up to `most` instances, and so much memory; a group that has more gets an image of its own. */
export function packGroups(groups: readonly Group[], most: number): Group[][] {
  const packs: Group[][] = [];
  let room = 0;
  let pagesLeft = 0;
  for (const group of groups) {
    const pages = group.reduce((sum, { shape }) => sum + shape.memoryPages, 0);
    const pack = packs.at(-1);
    if (pack && group.length <= room && pages <= pagesLeft) {
      pack.push(group);
    } else {
      packs.push([group]);
      room = most;
      pagesLeft = MOST_PAGES;
    }
    room -= group.length;
    pagesLeft -= pages;
  }
  return packs;
}

export type Home = { readonly vm: EngineVm } | Problem;

/** Compiles an image when one of its instances is asked for, and boots it. */
export class Images {
  readonly #engine: Engine;
  readonly #preparer: Preparer;
  readonly #onCompile: (modules: number) => void;
  readonly #packs = new Map<Instance, readonly Group[]>();
  readonly #homes = new Map<Instance, Home>();
  readonly #vms = new Set<EngineVm>();

  /** @param onCompile called before each run of the compiler with the number of modules */
  constructor(
    engine: Engine,
    preparer: Preparer,
    packs: readonly (readonly Group[])[],
    onCompile: (modules: number) => void,
  ) {
    this.#engine = engine;
    this.#preparer = preparer;
    this.#onCompile = onCompile;
    for (const pack of packs) {
      for (const instance of pack.flat()) this.#packs.set(instance, pack);
    }
  }

  /** The VM that the instance lives in. */
  async homeOf(instance: Instance): Promise<Home> {
    const known = this.#homes.get(instance);
    if (known) return known;
    await this.#build(this.#packs.get(instance) ?? []);
    return this.#homes.get(instance) ?? { outcome: "failed", reason: "the module is in no image" };
  }

  /** Instances of one pack are done with together. */
  packOf(instance: Instance): unknown {
    return this.#packs.get(instance);
  }

  disposeVm(vm: EngineVm): void {
    if (this.#vms.delete(vm)) vm.dispose();
  }

  dispose(): void {
    for (const vm of [...this.#vms]) this.disposeVm(vm);
  }

  async #build(groups: readonly Group[]): Promise<void> {
    const instances = groups.flat();
    if (instances.length === 0) return;
    const result = await this.#compile(instances);
    if (!("error" in result)) {
      this.#boot(result.image, instances);
      return;
    }
    const { error } = result;
    if (isCodedError(error) && HOST_TROUBLE.test(error.code)) {
      this.#giveUp(instances, { outcome: "failed", reason: describeError(error) });
    } else if (groups.length > 1) {
      for (const group of groups) await this.#build([group]);
    } else {
      await this.#buildWithoutGuilty(instances, error);
    }
  }

  /** The instances are connected, so the one that cannot be compiled takes with it those that import from it, and no others. */
  async #buildWithoutGuilty(instances: readonly Instance[], error: unknown): Promise<void> {
    const { guilty, cause } = await this.#findGuilty(instances, error);
    const lost = new Set([guilty]);
    for (const instance of instances) {
      if ([...instance.links.values()].some((other) => lost.has(other))) lost.add(instance);
    }
    const problem = await this.#problemOf(guilty, cause);
    this.#giveUp([guilty], problem);
    const reason = `${problem.reason} (the module of line ${guilty.line}, which this one imports from)`;
    this.#giveUp(
      [...lost].filter((instance) => instance !== guilty),
      { ...problem, reason },
    );
    await this.#build([instances.filter((instance) => !lost.has(instance))]);
  }

  async #problemOf(guilty: Instance, cause: unknown): Promise<Problem> {
    if (isCodedError(cause) && cause.code.startsWith("BARECELL_MODULE_")) {
      return (await this.#preparer.refusal(guilty.bytes, cause)).problem;
    }
    return { outcome: "failed", reason: describeError(cause) };
  }

  /** The first module without which those before it can be compiled. */
  async #findGuilty(
    instances: readonly Instance[],
    error: unknown,
  ): Promise<{ guilty: Instance; cause: unknown }> {
    const message = error instanceof Error ? error.message : "";
    const named = instances.filter(({ name }) => message.includes(`'${name}'`));
    if (named.length === 1) return { guilty: named[0] as Instance, cause: error };
    // So many from the start are good, so many are bad.
    let good = 0;
    let bad = instances.length;
    let cause = error;
    while (bad - good > 1) {
      const middle = (good + bad) >> 1;
      const result = await this.#compile(instances.slice(0, middle));
      if ("error" in result) {
        bad = middle;
        cause = result.error;
      } else {
        good = middle;
      }
    }
    return { guilty: instances[bad - 1] as Instance, cause };
  }

  async #compile(instances: readonly Instance[]): Promise<{ image: EngineImage } | { error: unknown }> {
    const modules = withDependencies(instances).map(engineModule);
    this.#onCompile(modules.length);
    try {
      return { image: await this.#engine.compile(modules) };
    } catch (error) {
      return { error };
    }
  }

  #boot(image: EngineImage, instances: readonly Instance[]): void {
    try {
      const vm = image.boot();
      this.#vms.add(vm);
      for (const instance of instances) this.#homes.set(instance, { vm });
    } catch (error) {
      this.#giveUp(instances, { outcome: "failed", reason: describeError(error) });
    }
  }

  #giveUp(instances: readonly Instance[], problem: Problem): void {
    for (const instance of instances) this.#homes.set(instance, problem);
  }
}

/** Nothing that another choice of modules would cure. */
const HOST_TROUBLE = /^BARECELL_(?:COMPILER_MISSING|FILE_|KVM_|ADDON_)/;
