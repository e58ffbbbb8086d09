/**
 * Goes through a script once without running it, and says for each command which instance it is about. Names are resolved here as they are at that
 * point of the script: they may be given again later.
 */
import { type Engine, type EngineModule, isCodedError, type ModuleShape } from "./engine.ts";
import type { Prepared, Preparer, Problem } from "./prepare.ts";
import {
  type Action,
  type Command,
  type LinkFailure,
  type ModuleSource,
  nameOfCommand,
  type RunFailure,
} from "./script.ts";
import type { Pattern } from "./values.ts";

/** One instance of a module. A module that is instantiated twice is two of them. */
export interface Instance {
  readonly name: string;
  readonly line: number;
  readonly bytes: Uint8Array;
  readonly shape: ModuleShape;
  /** By import module name. */
  readonly links: ReadonlyMap<string, Instance>;
}

export type Target = Instance | Problem;

export const isProblem = (target: Target): target is Problem => "outcome" in target;

export type Check =
  | { readonly kind: "ends" }
  | { readonly kind: "returns"; readonly expected: readonly Pattern[] }
  | { readonly kind: "fails"; readonly how: RunFailure; readonly text: string };

/**
 * A command, as far as it is clear without running it. `missed` are instances that a module, had it not been refused, might have changed: what the
 * script expects of them afterwards need not hold.
 */
export type Step = { readonly line: number; readonly name: string } & (
  | { readonly do: "report"; readonly problem: Problem | undefined }
  | { readonly do: "instantiate"; readonly target: Target; readonly missed: readonly Instance[] }
  | {
      readonly do: "instantiate badly";
      readonly target: Target;
      readonly missed: readonly Instance[];
      readonly how: LinkFailure;
      readonly text: string;
    }
  | {
      readonly do: "refuse";
      readonly source: ModuleSource;
      readonly malformed: boolean;
      readonly text: string;
    }
  | { readonly do: "act"; readonly target: Target; readonly action: Action; readonly check: Check }
);

export interface Plan {
  readonly steps: readonly Step[];
  /** In the order of the script; what they import comes before them. The host module is not among them. */
  readonly instances: readonly Instance[];
}

const failed = (reason: string): Problem => ({ outcome: "failed", reason });

/** @param host the module that scripts import as `spectest` */
export async function planScript(
  commands: readonly Command[],
  preparer: Preparer,
  engine: Engine,
  host: Instance,
): Promise<Plan> {
  const planner = new Planner(preparer, engine, host);
  const steps: Step[] = [];
  for (const command of commands) {
    const step = await planner.step(command);
    if (step) steps.push(step);
  }
  return { steps, instances: planner.instances };
}

class Planner {
  readonly instances: Instance[] = [];
  readonly #preparer: Preparer;
  readonly #engine: Engine;
  readonly #registered: Map<string, Target>;
  readonly #byId = new Map<string, Target>();
  readonly #definitions = new Map<string | undefined, Prepared>();
  #last: Target = failed("there is no module yet");

  constructor(preparer: Preparer, engine: Engine, host: Instance) {
    this.#preparer = preparer;
    this.#engine = engine;
    this.#registered = new Map([["spectest", host]]);
  }

  /** @returns undefined for a command that has nothing to say */
  async step(command: Command): Promise<Step | undefined> {
    const line = command.line;
    const name = nameOfCommand(command);
    switch (command.kind) {
      case "module": {
        const target = this.#instantiate(line, await this.#preparer.prepare(command.module));
        const missed = this.#missed(target, command.module);
        this.#name(command.id, target);
        return { line, name, do: "instantiate", target, missed };
      }
      case "definition": {
        const prepared = await this.#preparer.prepare(command.module);
        this.#definitions.set(command.id, prepared);
        this.#definitions.set(undefined, prepared);
        return {
          line,
          name,
          do: "report",
          problem: prepared.kind === "ready" ? undefined : prepared.problem,
        };
      }
      case "instance": {
        const prepared = this.#definitions.get(command.definition);
        const target = prepared
          ? this.#instantiate(line, prepared)
          : failed(`no definition is named ${command.definition ?? "at all"}`);
        this.#name(command.id, target);
        return { line, name, do: "instantiate", target, missed: [] };
      }
      case "register": {
        const target = this.#find(command.id);
        this.#registered.set(command.name, target);
        return isProblem(target) ? { line, name, do: "report", problem: target } : undefined;
      }
      case "action":
        return this.#act(line, name, command.action, { kind: "ends" });
      case "returns":
        return this.#act(line, name, command.action, { kind: "returns", expected: command.expected });
      case "fails":
        return this.#act(line, name, command.action, { kind: "fails", how: command.how, text: command.text });
      case "unusable":
        return this.#unusable(command, name);
      case "refused":
        return {
          line,
          name,
          do: "refuse",
          source: command.module,
          malformed: command.how === "assert_malformed",
          text: command.text,
        };
      case "foreign":
        return { line, name, do: "report", problem: { outcome: "skipped", reason: command.reason } };
      case "broken":
        return { line, name, do: "report", problem: failed(command.reason) };
    }
  }

  #act(line: number, name: string, action: Action, check: Check): Step {
    return { line, name, do: "act", target: this.#find(action.module), action, check };
  }

  #find(id: string | undefined): Target {
    if (id === undefined) return this.#last;
    return this.#byId.get(id) ?? failed(`no module is named ${id}`);
  }

  #name(id: string | undefined, target: Target): void {
    this.#last = target;
    if (id !== undefined) this.#byId.set(id, target);
  }

  async #unusable(command: Command & { kind: "unusable" }, name: string): Promise<Step> {
    const { line, how, text } = command;
    const prepared = await this.#preparer.prepare(command.module);
    if (how === "assert_unlinkable" && prepared.kind === "ready") {
      const bad = this.#unlinkable(line, prepared.shape, prepared.bytes);
      if (bad?.code === LINK_FAILED) return { line, name, do: "report", problem: undefined };
    }
    const target = this.#instantiate(line, prepared);
    const missed = this.#missed(target, command.module);
    return { line, name, do: "instantiate badly", target, missed, how, text };
  }

  /** Of a module that is not read, its imports are not known; but it has to name what it imports from. */
  #missed(target: Target, source: ModuleSource): Instance[] {
    if (!isProblem(target) || target.outcome !== "skipped") return [];
    const text = Buffer.from(source.bytes);
    return [...this.#registered].flatMap(([name, other]) =>
      !isProblem(other) && text.includes(source.encoding === "binary" ? name : `"${name}"`) ? [other] : [],
    );
  }

  #instantiate(line: number, prepared: Prepared): Target {
    if (prepared.kind !== "ready") return prepared.problem;
    const bad = this.#unlinkable(line, prepared.shape, prepared.bytes);
    if (bad !== undefined) return failed(`${bad.code}: ${bad.reason}`);
    const instance = this.#draft(line, prepared.shape, prepared.bytes);
    if (!isProblem(instance)) this.instances.push(instance);
    return instance;
  }

  /** The instance that it would be; a problem of a module that it imports is its own. */
  #draft(line: number, shape: ModuleShape, bytes: Uint8Array): Target {
    const links = new Map<string, Instance>();
    for (const { module } of shape.imports) {
      const target =
        this.#registered.get(module) ?? failed(`unknown import: no module is registered as '${module}'`);
      if (isProblem(target)) return target;
      links.set(module, target);
    }
    // No script gives such a name to a module, so it cannot be taken for one.
    return { name: `#${this.instances.length + 1} at line ${line}`, line, bytes, shape, links };
  }

  /** @returns why the module cannot be linked, as far as that can be said now */
  #unlinkable(line: number, shape: ModuleShape, bytes: Uint8Array): LinkError | undefined {
    const unknown = shape.imports.find(({ module }) => !this.#registered.has(module));
    if (unknown) {
      return { code: LINK_FAILED, reason: `unknown import: no module is registered as '${unknown.module}'` };
    }
    const instance = this.#draft(line, shape, bytes);
    if (isProblem(instance)) return undefined;
    try {
      this.#engine.checkLinks(withDependencies([instance]).map(engineModule));
      return undefined;
    } catch (error) {
      if (isCodedError(error)) return { code: error.code, reason: error.message };
      throw error;
    }
  }
}

interface LinkError {
  readonly code: string;
  readonly reason: string;
}

export const LINK_FAILED = "BARECELL_LINK_FAILED";

/** The instances and all that they import from, each after what it imports. */
export function withDependencies(instances: Iterable<Instance>): Instance[] {
  const found = new Set<Instance>();
  const visit = (instance: Instance): void => {
    if (found.has(instance)) return;
    for (const other of instance.links.values()) visit(other);
    found.add(instance);
  };
  for (const instance of instances) visit(instance);
  return [...found];
}

export function engineModule(instance: Instance): EngineModule {
  const link = Object.fromEntries([...instance.links].map(([module, other]) => [module, other.name]));
  return { name: instance.name, bytes: instance.bytes, shape: instance.shape, link };
}
