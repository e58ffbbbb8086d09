/** Engines that err on purpose, to see that the comparison notices. */
import type { Engine, Outcome } from "../engines/outcome.ts";

export type Mistake = "result" | "trap kind" | "no trap" | "memory" | "memory size" | "global";

/** Behaves as the engine does but for one kind of mistake, which it makes from the given call on. */
export function withMistake(engine: Engine, mistake: Mistake, from: number): Engine {
  let calls = 0;
  const isTime = (): boolean => calls >= from;
  return {
    name: `${engine.name} with a wrong ${mistake}`,
    instantiate: (module) => engine.instantiate(module),
    call: (module, name, args) => {
      calls++;
      const outcome = engine.call(module, name, args);
      return isTime() ? changed(outcome, mistake) : outcome;
    },
    memory: (module) => {
      const memory = engine.memory(module);
      if (!memory || memory.length === 0 || !isTime()) return memory;
      if (mistake === "memory size") return memory.slice(0, -1);
      if (mistake !== "memory") return memory;
      const copy = memory.slice();
      copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
      return copy;
    },
    global: (module, name) => {
      const value = engine.global(module, name);
      return isTime() && mistake === "global" ? value ^ 1n : value;
    },
    dispose: () => engine.dispose(),
  };
}

function changed(outcome: Outcome, mistake: Mistake): Outcome {
  if (outcome.kind === "values" && mistake === "result" && outcome.bits.length > 0) {
    return { kind: "values", bits: outcome.bits.map((bits) => bits ^ 1n) };
  }
  if (outcome.kind === "trap" && mistake === "no trap") return { kind: "values", bits: [] };
  if (outcome.kind === "trap" && mistake === "trap kind") {
    const other = outcome.traps.includes("UNREACHABLE") ? "INTEGER_DIVIDE_BY_ZERO" : "UNREACHABLE";
    return { kind: "trap", traps: [other], message: outcome.message };
  }
  return outcome;
}
