/** A valid module of WebAssembly 2.0 from a list of decisions. */
import type { Module } from "../wasm/module.ts";
import { Body, ENTRY_COST } from "./body.ts";
import type { Choices, Streams } from "./choices.ts";
import { expression } from "./expressions.ts";
import { type Offer, Shape } from "./shape.ts";
import { statements } from "./statements.ts";

export interface Generated {
  readonly module: Module;
  /** The mutable global that bounds the time of a call; whoever calls fills it up. */
  readonly fuelGlobal: number;
}

/** Nodes of a function, and how deep its expressions nest. */
const BUDGETS = [80, 160, 300] as const;
const DEPTH = 6;

/**
 * @param name begins the names of the module's streams of decisions
 * @param offer a module that was made earlier, whose exports this one may import
 */
export function generateModule(streams: Streams, name: string, offer?: Offer): Generated {
  const choices = streams.stream(name);
  const shape = new Shape(choices, offer);
  const { module } = shape;
  const first = shape.importedFunctions;
  shape.functionTypes.slice(first).forEach((type, i) => {
    module.functions.push(functionOf(shape, streams.stream(`${name} f${i}`), type));
    module.exports.push({ name: `f${first + i}`, kind: "func", index: first + i });
  });
  if (shape.memory) module.exports.push({ name: "memory", kind: "memory", index: 0 });
  shape.tables.forEach((_, index) => {
    module.exports.push({ name: `t${index}`, kind: "table", index });
  });
  chooseStart(shape, choices);
  return { module, fuelGlobal: shape.fuelGlobal };
}

function functionOf(
  shape: Shape,
  choices: Choices,
  type: Shape["functionTypes"][number],
): Module["functions"][number] {
  const body = new Body(shape, choices, type, choices.pick(BUDGETS));
  for (let i = choices.below(5); i > 0; i--) body.addLocal(shape.valueType());
  body.burn(ENTRY_COST);
  statements(body, DEPTH, 14);
  if (!body.choices.oneIn(3)) exposeLocals(body);
  for (const result of type.results) expression(body, result, DEPTH);
  body.op("end");
  return { type: shape.typeIndex(type), locals: body.locals.slice(type.params.length), code: body.code };
}

const EXPOSED_AT = 512;

/** Writes all numbers to memory, where they are seen: most of what is computed would otherwise never be looked at. */
function exposeLocals(body: Body): void {
  if (!body.shape.memory || body.shape.memory.min === 0) return;
  body.locals.forEach((type, local) => {
    if (type === "funcref" || type === "externref") return;
    body.i32(EXPOSED_AT + 16 * local).op("local.get", local);
    body.op(`${type}.store`, 0, 0);
  });
}

/** Any function without parameters and results can be the start function, which runs before the first call. */
function chooseStart(shape: Shape, choices: Choices): void {
  const candidates = shape.functionTypes.flatMap((type, index) =>
    type.params.length === 0 && type.results.length === 0 && index >= shape.importedFunctions ? [index] : [],
  );
  if (candidates.length > 0 && choices.oneIn(4)) shape.module.start = choices.pick(candidates);
}
