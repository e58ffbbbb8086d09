/** Runs one script: reads it, plans it, compiles its modules, and holds every command against what the VM does. */
import { checkResults, Mismatch, writeArguments } from "./compare.ts";
import { ConstantPool, constantsOf } from "./constants.ts";
import { describeError, type Engine, type EngineVm, isCodedError } from "./engine.ts";
import { type Group, groupByLinks, Images, packGroups } from "./images.ts";
import {
  type Check,
  type Instance,
  isProblem,
  LINK_FAILED,
  planScript,
  type Step,
  type Target,
} from "./plan.ts";
import { Preparer, type Problem } from "./prepare.ts";
import { type Action, type Command, type LinkFailure, readScript } from "./script.ts";
import { SPECTEST } from "./spectest.ts";
import { codesOfTrap } from "./traps.ts";
import type { Constant } from "./values.ts";
import { Wat } from "./wabt.ts";

export type Outcome = "passed" | "failed" | "skipped";

/** What became of one command. */
export interface Entry {
  readonly line: number;
  /** The command's name in the script. */
  readonly kind: string;
  readonly outcome: Outcome;
  /** Empty if it passed. */
  readonly reason: string;
}

export interface RunOptions {
  /** Most modules in one image. */
  readonly modulesPerImage: number;
  /** Whether a refusal by name is a failure too. */
  readonly strict: boolean;
  readonly onEntry?: (entry: Entry) => void;
  /** Called before the compiler runs. */
  readonly onProgress: (line: number, what: string) => void;
}

export async function runScript(source: Uint8Array, engine: Engine, options: RunOptions): Promise<Entry[]> {
  const wat = await Wat.create();
  const preparer = new Preparer(engine, wat, options.strict);
  const host = await hostModule(engine, wat);
  const commands = readScript(source);
  const plan = await planScript(commands, preparer, engine, host);
  const pool = await ConstantPool.encode(constantsIn(commands), wat);
  const groups = groupByLinks(plan.instances, host);
  const packs = packGroups(groups, options.modulesPerImage);
  let line = 0;
  const images = new Images(engine, preparer, packs, (modules) => {
    options.onProgress(line, `compiling ${modules} modules`);
  });
  const runner = new Runner(preparer, images, pool, host, groups);
  const ends = lastUses(plan.steps, images);
  const entries: Entry[] = [];
  let rested = performance.now();
  try {
    for (const [index, step] of plan.steps.entries()) {
      line = step.line;
      if (performance.now() - rested > LONGEST_WITHOUT_REST_MS) {
        await rest();
        rested = performance.now();
      }
      const problem = await runner.run(step);
      const outcome = problem?.outcome ?? "passed";
      const entry: Entry = { line, kind: step.name, outcome, reason: problem?.reason ?? "" };
      entries.push(entry);
      options.onEntry?.(entry);
      const done = targetOf(step);
      if (done && ends.get(images.packOf(done)) === index) await runner.release(done);
    }
  } finally {
    images.dispose();
  }
  return entries;
}

/** Calls are synchronous; between them messages and signals want their turn. */
const LONGEST_WITHOUT_REST_MS = 50;
const rest = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function hostModule(engine: Engine, wat: Wat): Promise<Instance> {
  const bytes = await wat.toBinary(Buffer.from(SPECTEST), "2.0");
  return { name: "spectest", line: 0, bytes, shape: engine.validate(bytes), links: new Map() };
}

function* constantsIn(commands: readonly Command[]): Generator<Constant> {
  for (const command of commands) {
    if ("action" in command) yield* constantsOf(command.action.args);
    if (command.kind === "returns") yield* constantsOf(command.expected);
  }
}

function targetOf(step: Step): Instance | undefined {
  return "target" in step && !isProblem(step.target) ? step.target : undefined;
}

/** By pack the last step that needs it, after which its VM can go. */
function lastUses(steps: readonly Step[], images: Images): Map<unknown, number> {
  const ends = new Map<unknown, number>();
  for (const [index, step] of steps.entries()) {
    const target = targetOf(step);
    if (target) ends.set(images.packOf(target), index);
  }
  return ends;
}

const failed = (reason: string): Problem => ({ outcome: "failed", reason });

class Runner {
  readonly #preparer: Preparer;
  readonly #images: Images;
  readonly #pool: ConstantPool;
  readonly #host: Instance;
  /** Instances that did not come to be; undefined for those that did. */
  readonly #instantiated = new Map<Instance, Problem | undefined>();
  readonly #withHost = new WeakSet<EngineVm>();
  readonly #groups = new Map<Instance, Group>();
  /** Groups that are not what the script takes them for, because a module was refused that should have changed them. */
  readonly #missing = new Map<Group, Problem>();

  constructor(
    preparer: Preparer,
    images: Images,
    pool: ConstantPool,
    host: Instance,
    groups: readonly Group[],
  ) {
    this.#preparer = preparer;
    this.#images = images;
    this.#pool = pool;
    this.#host = host;
    for (const group of groups) for (const instance of group) this.#groups.set(instance, group);
  }

  /** @returns undefined if the command did what the script expects */
  async run(step: Step): Promise<Problem | undefined> {
    const problem = await this.#run(step);
    const target = targetOf(step);
    const missing = target && this.#missing.get(this.#groups.get(target) ?? []);
    if (missing && problem?.outcome === "failed") return missing;
    if (problem && "missed" in step) {
      const reason = `${problem.reason} (the module of line ${step.line}, which changes this one)`;
      for (const instance of step.missed) {
        const group = this.#groups.get(instance);
        if (group && !this.#missing.has(group)) this.#missing.set(group, { outcome: "skipped", reason });
      }
    }
    return problem;
  }

  async #run(step: Step): Promise<Problem | undefined> {
    try {
      switch (step.do) {
        case "report":
          return step.problem;
        case "refuse":
          return await this.#preparer.expectRefusal(step.source, step.malformed, step.text);
        case "instantiate":
          return await this.#instantiate(step.target);
        case "instantiate badly":
          return await this.#instantiateBadly(step.target, step.how, step.text);
        case "act":
          return await this.#act(step.target, step.action, step.check);
      }
    } catch (error) {
      return failed(error instanceof Mismatch ? error.message : describeError(error));
    }
  }

  async release(instance: Instance): Promise<void> {
    const home = await this.#images.homeOf(instance);
    if ("vm" in home) this.#images.disposeVm(home.vm);
  }

  async #instantiate(target: Target): Promise<Problem | undefined> {
    if (isProblem(target)) return target;
    const home = await this.#images.homeOf(target);
    if (!("vm" in home)) {
      this.#instantiated.set(target, home);
      return home;
    }
    const lost = this.#lostImport(target);
    if (lost) {
      this.#instantiated.set(target, lost);
      return lost;
    }
    try {
      this.#ready(home.vm, target);
      home.vm.instantiate(target.name);
    } catch (error) {
      const reason = describeError(error);
      this.#instantiated.set(
        target,
        failed(`the module of line ${target.line} was not instantiated: ${reason}`),
      );
      return failed(reason);
    }
    this.#instantiated.set(target, undefined);
    return undefined;
  }

  /** What was never instantiated cannot be imported from; the VM would find an empty instance there. */
  #lostImport(instance: Instance): Problem | undefined {
    for (const other of instance.links.values()) {
      const problem = this.#instantiated.get(other);
      if (problem) return problem;
    }
    return undefined;
  }

  /** The host's module is there before any other that imports from it. */
  #ready(vm: EngineVm, instance: Instance): void {
    for (const other of instance.links.values()) {
      if (other !== this.#host || this.#withHost.has(vm)) continue;
      vm.instantiate(this.#host.name);
      this.#withHost.add(vm);
    }
  }

  async #instantiateBadly(target: Target, how: LinkFailure, text: string): Promise<Problem | undefined> {
    if (isProblem(target)) return target;
    const home = await this.#images.homeOf(target);
    if (!("vm" in home)) return home;
    const lost = this.#lostImport(target);
    if (lost) return lost;
    this.#ready(home.vm, target);
    // Before bulk memory operations a segment that does not fit made a module unlinkable.
    const codes = codesOfTrap(text);
    if (how === "assert_unlinkable") codes.push(LINK_FAILED);
    if (codes.length === 0) return failed(`barecell has no code for the trap '${text}'`);
    return expectCode(codes, `for '${text}'`, () => {
      home.vm.instantiate(target.name);
      return "it was instantiated";
    });
  }

  async #act(target: Target, action: Action, check: Check): Promise<Problem | undefined> {
    if (isProblem(target)) return target;
    const missing = this.#instantiated.has(target)
      ? this.#instantiated.get(target)
      : failed("the module is not instantiated yet");
    if (missing) return missing;
    const home = await this.#images.homeOf(target);
    if (!("vm" in home)) return home;
    if (check.kind !== "fails") {
      this.#perform(home.vm, target, action, check);
      return undefined;
    }
    const codes = check.how === "assert_exception" ? [] : codesOfTrap(check.text);
    if (check.how === "assert_exception") return failed("barecell has no exceptions");
    if (codes.length === 0) return failed(`barecell has no code for the trap '${check.text}'`);
    return expectCode(codes, `for '${check.text}'`, () => {
      this.#perform(home.vm, target, action, check);
      return "it returned";
    });
  }

  /** @throws Mismatch, CodedError */
  #perform(vm: EngineVm, instance: Instance, action: Action, check: Check): void {
    const exported = instance.shape.exports.get(action.name);
    if (!exported) throw new Mismatch(`the module of line ${instance.line} exports no '${action.name}'`);
    const wanted = action.kind === "invoke" ? "func" : "global";
    if (action.kind === "invoke" && exported.kind === "func") {
      const slots = writeArguments(action.args, exported.params, this.#pool);
      const results = vm.call(instance.name, action.name, slots);
      if (check.kind === "returns") checkResults(check.expected, exported.results, results, this.#pool);
    } else if (action.kind === "get" && exported.kind === "global") {
      const slot = vm.global(instance.name, action.name);
      if (check.kind === "returns") checkResults(check.expected, [exported.type], slot, this.#pool);
    } else {
      throw new Mismatch(`'${action.name}' is a ${exported.kind}, and not a ${wanted}`);
    }
  }
}

/** @param run returns what it did instead of failing */
function expectCode(codes: readonly string[], why: string, run: () => string): Problem | undefined {
  let did: string;
  try {
    did = run();
  } catch (error) {
    if (error instanceof Mismatch || !isCodedError(error)) throw error;
    if (codes.includes(error.code)) return undefined;
    did = `it ended with ${describeError(error)}`;
  }
  return failed(`${did}; expected ${codes.join(" or ")} ${why}`);
}
