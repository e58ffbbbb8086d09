/** Statements: what has effects, and what steers. */
import { NUMERIC, type ValueType } from "../wasm/opcodes.ts";
import { type Body, ROUND_COST } from "./body.ts";
import { expression } from "./expressions.ts";
import { bulkMemory, growth, neighbours, overwritten, store } from "./memory-access.ts";
import { PAGE } from "./shape.ts";
import { call, tableStatement } from "./table-access.ts";

export function statements(body: Body, depth: number, most: number): void {
  for (let i = body.choices.below(most + 1); i > 0; i--) statement(body, depth);
}

function statement(body: Body, depth: number): void {
  const { choices, shape } = body;
  body.budget--;
  if (depth <= 0 || body.budget <= 0) return;
  const around = body.expressionDepth;
  body.expressionDepth = choices.pick([1, 2, 2, 3, 3, 4, 6]);
  choices.weighted<() => void>([
    [6, () => setLocal(body, depth)],
    [5, () => setGlobal(body, depth)],
    [shape.memory ? 8 : 0, () => store(body, depth)],
    [shape.memory ? 3 : 0, () => neighbours(body, depth)],
    [shape.memory ? 2 : 0, () => growth(body, depth)],
    [2, () => overwritten(body, depth)],
    [2, () => dropped(body, depth)],
    [3, () => ifThen(body, depth)],
    [2, () => block(body, depth)],
    [2, () => loop(body, depth)],
    [3, () => countedLoop(body, depth)],
    [2, () => manyValues(body, depth)],
    [2, () => beneath(body, depth)],
    [3, () => callStatement(body, depth)],
    [shape.memory ? 3 : 0, () => bulkMemory(body, depth)],
    [2, () => tableStatement(body, depth)],
    [2, () => branch(body, depth)],
    [1, () => branchTable(body, depth)],
    [body.calm ? 0 : 1, () => deadCode(body, depth)],
    [1, () => body.op("nop")],
  ])();
  body.expressionDepth = around;
}

function setLocal(body: Body, depth: number): void {
  const type = body.shape.valueType();
  expression(body, type, depth - 1);
  body.op("local.set", body.localFor(type));
}

function setGlobal(body: Body, depth: number): void {
  const { shape } = body;
  const targets = shape.globals.flatMap(({ mutable }, index) =>
    mutable && index !== shape.fuelGlobal ? [index] : [],
  );
  if (targets.length === 0) {
    setLocal(body, depth);
    return;
  }
  const index = body.choices.pick(targets);
  expression(body, shape.globals[index]?.type ?? "i32", depth - 1);
  body.op("global.set", index);
}

/** A load or division whose result nobody uses must trap all the same. */
function dropped(body: Body, depth: number): void {
  expression(body, body.shape.valueType(), depth - 1);
  body.op("drop");
}

function ifThen(body: Body, depth: number): void {
  expression(body, "i32", depth - 1);
  body.open("if", { params: [], results: [] });
  statements(body, depth - 1, 3);
  if (body.choices.oneIn(2)) {
    body.otherwise();
    statements(body, depth - 1, 3);
  }
  body.close();
}

function block(body: Body, depth: number): void {
  body.open("block", { params: [], results: [] });
  statements(body, depth - 1, 4);
  body.close();
}

/** A loop that some branch may continue, for as long as there is fuel. */
function loop(body: Body, depth: number): void {
  const types = Array.from({ length: body.choices.below(3) }, () => body.shape.valueType());
  for (const type of types) expression(body, type, depth - 1);
  body.open("loop", { params: types, results: types });
  body.burn(ROUND_COST);
  const locals = types.map((type) => body.localFor(type));
  for (const local of locals.toReversed()) body.op("local.set", local);
  statements(body, depth - 1, 3);
  for (const type of types) expression(body, type, depth - 1);
  expression(body, "i32", depth - 1);
  body.op("br_if", 0);
  body.close();
  for (const type of types.toReversed()) body.op("local.set", body.localFor(type));
}

/** The kind of loop that C compilers unroll, vectorise and hoist out of: a counter, and addresses that move with it. */
function countedLoop(body: Body, depth: number): void {
  const { choices } = body;
  const counter = body.addLocal("i32");
  body.reserved.add(counter);
  const step = choices.pick([1, 1, 4, 8, -1, 16]);
  const rounds = 1 + choices.below(40);
  const first = choices.pick([0, 0, 8, 64, 0x7fffffff - rounds]);
  body.i32(first).op("local.set", counter);
  body.open("loop", { params: [], results: [] });
  body.burn(ROUND_COST);
  if (body.shape.memory && choices.oneIn(2)) arrayStep(body, counter);
  statements(body, depth - 1, 2);
  body.op("local.get", counter).i32(step).op("i32.add").op("local.tee", counter);
  body.i32((first + step * rounds) | 0).op("i32.ne");
  body.op("br_if", 0);
  body.close();
}

const ARRAYS = [
  ["i32.load", "i32.store", "i32"],
  ["i32.load8_u", "i32.store8", "i32"],
  ["i32.load16_s", "i32.store16", "i32"],
  ["i64.load", "i64.store", "i64"],
  ["f32.load", "f32.store", "f32"],
  ["f64.load", "f64.store", "f64"],
] as const;

/** memory[a + counter] = f(memory[b + counter]), with overlap as it comes; or a sum over memory. Now and then it runs off the end. */
function arrayStep(body: Body, counter: number): void {
  const { choices, shape } = body;
  const [load, store, type] = choices.pick(ARRAYS);
  const mask = choices.pick([0xff, 0xfff, 0x3ff]);
  const runsOff = !body.calm && choices.oneIn(3);
  const address = (): number => {
    body.op("local.get", counter);
    if (!runsOff) body.i32(mask).op("i32.and");
    return runsOff && choices.oneIn(2)
      ? (shape.memory?.min ?? 0) * PAGE - choices.below(200)
      : choices.below(64);
  };
  const isSum = choices.oneIn(3);
  const sums = shape.globals.flatMap((global, index) =>
    global.type === type && global.mutable && index !== shape.fuelGlobal ? [index] : [],
  );
  const [sum] = isSum ? sums : [];
  const target = sum === undefined ? address() : 0;
  const source = address();
  body.op(load, 0, Math.max(source, 0));
  const ops = NUMERIC.filter(
    ({ params, name }) => params.length === 2 && params[0] === type && name.startsWith(type),
  ).filter(({ results, name }) => results[0] === type && !/div_|rem_/.test(name));
  if (sum === undefined) expression(body, type, 1);
  else body.op("global.get", sum);
  body.opcode(choices.pick(ops));
  if (sum === undefined) body.op(store, 0, Math.max(target, 0));
  else body.op("global.set", sum);
}

/** A block with parameters and several results, which are then stored away. */
function manyValues(body: Body, depth: number): void {
  const { choices } = body;
  const type = choices.pick(body.shape.signatures);
  for (const param of type.params) expression(body, param, depth - 1);
  if (choices.oneIn(3)) {
    expression(body, "i32", depth - 1);
    body.open("if", type);
    exchange(body, type.params, type.results, depth);
    body.otherwise();
  } else {
    body.open("block", type);
  }
  exchange(body, type.params, type.results, depth);
  body.close();
  storeAway(body, type.results);
}

/** Takes some values from the stack and leaves others there. */
function exchange(body: Body, taken: readonly ValueType[], left: readonly ValueType[], depth: number): void {
  storeAway(body, taken);
  statements(body, depth - 1, 2);
  for (const type of left) expression(body, type, depth - 1);
}

function storeAway(body: Body, types: readonly ValueType[]): void {
  for (const type of types.toReversed()) {
    if (body.choices.oneIn(4)) body.op("drop");
    else body.op("local.set", body.localFor(type));
  }
}

/** Values that lie on the stack while statements run above them. */
function beneath(body: Body, depth: number): void {
  const types = Array.from({ length: 1 + body.choices.below(3) }, () => body.shape.valueType());
  for (const type of types) expression(body, type, depth - 1);
  statements(body, depth - 1, 2);
  storeAway(body, types);
}

function callStatement(body: Body, depth: number): void {
  const results = call(body, depth, () => true);
  if (results) storeAway(body, results);
}

/** A conditional branch to any label, with what the label takes. */
function branch(body: Body, depth: number): void {
  const target = body.choices.below(body.labels.length);
  const label = body.labels[body.labels.length - 1 - target];
  const types = label?.types ?? [];
  for (const type of types) expression(body, type, depth - 1);
  expression(body, "i32", depth - 1);
  body.op("br_if", target);
  for (const _ of types) body.op("drop");
}

/** An unconditional one, in a block of its own; what follows it in the block is never run, but must be valid. */
export function branchOut(body: Body, depth: number): void {
  body.open("block", { params: [], results: [] });
  const target = body.choices.below(body.labels.length);
  const types = body.labels[body.labels.length - 1 - target]?.types ?? [];
  if (body.calm || body.choices.oneIn(2)) {
    expression(body, "i32", depth - 1);
    body.op("br_if", 0);
  }
  for (const type of types) expression(body, type, depth - 1);
  if (target === body.labels.length - 1 && body.choices.oneIn(2)) body.op("return");
  else body.op("br", target);
  if (body.choices.oneIn(3)) statement(body, depth - 1);
  body.close();
}

function branchTable(body: Body, depth: number): void {
  const { choices } = body;
  const blocks = 1 + choices.below(4);
  for (let i = 0; i < blocks; i++) body.open("block", { params: [], results: [] });
  expression(body, "i32", depth - 1);
  if (choices.oneIn(2)) body.i32(7).op("i32.and");
  const targets = Array.from({ length: choices.below(6) }, () => choices.below(blocks));
  body.op("br_table").u32(targets.length);
  for (const target of [...targets, choices.below(blocks)]) body.u32(target);
  for (let i = 0; i < blocks; i++) {
    body.close();
    statements(body, depth - 1, 1);
  }
}

/** After a trap or a branch the stack is as wide as one likes: instructions without operands are valid there. */
function deadCode(body: Body, depth: number): void {
  const { choices } = body;
  body.open("block", { params: [], results: [] });
  if (!choices.oneIn(3)) {
    expression(body, "i32", depth - 1);
    body.op("br_if", 0);
  }
  if (choices.oneIn(2)) body.op("br", 0);
  else body.op("unreachable");
  for (let i = choices.below(3); i > 0; i--) body.opcode(choices.pick(NUMERIC)).op("drop");
  if (choices.oneIn(3)) body.op("select").op("drop");
  body.close();
}
