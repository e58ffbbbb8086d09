/** Expression trees, grown from the type that is wanted. */
import { NUMERIC, type Op, opNamed, SIMD, TYPE_CODE, type ValueType } from "../wasm/opcodes.ts";
import type { Body } from "./body.ts";
import { numberBits, vectorBits } from "./constants.ts";
import { idiom } from "./idioms.ts";
import { load } from "./memory-access.ts";
import { branchOut, statements } from "./statements.ts";
import { call, reference, tableQuestion } from "./table-access.ts";

const isPlain = (op: Op): boolean => !op.immediates.startsWith("memarg") && op.results.length > 0;

function byResult(ops: readonly Op[]): Map<ValueType, Op[]> {
  const map = new Map<ValueType, Op[]>();
  for (const op of ops) {
    const [result] = op.results;
    if (result === undefined) continue;
    map.set(result, [...(map.get(result) ?? []), op]);
  }
  return map;
}

const SCALAR = byResult(NUMERIC);
const VECTOR = byResult(SIMD.filter((op) => isPlain(op) && op.name !== "v128.const"));

/** Trap, or may trap, by their operands. */
const DIVISION = /^i(32|64)\.(div|rem)_[su]$/;
const TRAPPING_CONVERSION = /^i(32|64)\.trunc_f/;

/** Writes code that leaves one value of the type on the stack. */
export function expression(body: Body, type: ValueType, most: number): void {
  const depth = Math.min(most, body.expressionDepth);
  body.budget--;
  if (depth <= 0 || body.budget <= 0) {
    leaf(body, type);
    return;
  }
  const isNumber = type !== "funcref" && type !== "externref";
  body.choices.weighted<() => void>([
    [6, () => leaf(body, type)],
    [isNumber ? 14 : 0, () => operation(body, type, depth)],
    [isNumber ? 6 : 0, () => idiom(body, type, depth) || operation(body, type, depth)],
    [isNumber ? 4 : 0, () => load(body, type, depth) || leaf(body, type)],
    [2, () => tee(body, type, depth)],
    [2, () => select(body, type, depth)],
    [2, () => ifElse(body, type, depth)],
    [2, () => block(body, type, depth)],
    [2, () => callFor(body, type, depth)],
    [1, () => branchWithValue(body, type, depth)],
    [type === "i32" ? 2 : 0, () => question(body, depth)],
    [isNumber ? 0 : 10, () => referenceOf(body, type, depth)],
  ])();
}

function referenceOf(body: Body, type: ValueType, depth: number): void {
  reference(body, type === "externref" ? "externref" : "funcref", depth);
}

function leaf(body: Body, type: ValueType): void {
  const { choices, shape } = body;
  const locals = body.localsOf(type, false);
  const globals = shape.globals.flatMap((global, index) =>
    global.type === type && index !== shape.fuelGlobal ? [index] : [],
  );
  choices.weighted<() => void>([
    [3, () => literal(body, type)],
    [locals.length > 0 ? 6 : 0, () => body.op("local.get", choices.pick(locals))],
    [globals.length > 0 ? 2 : 0, () => body.op("global.get", choices.pick(globals))],
  ])();
}

function literal(body: Body, type: ValueType): void {
  const { choices } = body;
  if (type === "v128") body.constant(type, vectorBits(choices));
  else if (type === "funcref" || type === "externref") body.zero(type);
  else body.constant(type, numberBits(choices, type));
}

function operation(body: Body, type: ValueType, depth: number): void {
  const { choices, shape } = body;
  const scalar = SCALAR.get(type) ?? [];
  // Without SIMD of its own a module may still have imported something that takes a vector.
  const vector = shape.hasSimd || scalar.length === 0 ? (VECTOR.get(type) ?? []) : [];
  const ops = scalar.length === 0 || (vector.length > 0 && choices.oneIn(3)) ? vector : scalar;
  let op = choices.pick(ops);
  if (body.calm && TRAPPING_CONVERSION.test(op.name)) {
    op = opNamed(op.name.replace(".trunc_", ".trunc_sat_"));
  }
  const [first] = op.params;
  // The same value twice: comparisons with itself, x - x, x / x, and what optimisers make of it.
  const twice = op.params.length === 2 && first === op.params[1] && first !== undefined && choices.oneIn(10);
  if (twice) {
    const local = body.localFor(first);
    expression(body, first, depth - 1);
    body.op("local.tee", local).op("local.get", local);
  } else {
    for (const param of op.params) expression(body, param, depth - 1);
  }
  if (body.calm && DIVISION.test(op.name)) body.constant(type, 1n).op(`${type}.or`);
  body.opcode(op);
  immediatesOf(body, op);
}

/** Lane numbers of a shuffle or of a replace and extract. */
function immediatesOf(body: Body, op: Op): void {
  const { choices } = body;
  if (op.immediates === "v128") body.bytes(Array.from({ length: 16 }, () => choices.below(32)));
  if (op.immediates !== "lane") return;
  const lanes = Number(/x(\d+)/.exec(op.name)?.[1] ?? 1);
  body.byte(choices.below(lanes));
}

function tee(body: Body, type: ValueType, depth: number): void {
  expression(body, type, depth - 1);
  body.op("local.tee", body.localFor(type));
}

function select(body: Body, type: ValueType, depth: number): void {
  expression(body, type, depth - 1);
  expression(body, type, depth - 1);
  expression(body, "i32", depth - 1);
  const isReference = type === "funcref" || type === "externref";
  if (isReference || body.choices.oneIn(3)) body.op("select_t").u32(1).byte(TYPE_CODE[type]);
  else body.op("select");
}

function ifElse(body: Body, type: ValueType, depth: number): void {
  expression(body, "i32", depth - 1);
  body.open("if", { params: [], results: [type] });
  if (body.choices.oneIn(2)) statements(body, depth - 1, 1);
  expression(body, type, depth - 1);
  body.otherwise();
  if (body.choices.oneIn(2)) statements(body, depth - 1, 1);
  expression(body, type, depth - 1);
  body.close();
}

/** Statements in the middle of an expression: what they write must be seen by later operands and not by earlier ones. */
function block(body: Body, type: ValueType, depth: number): void {
  body.open(body.choices.oneIn(5) ? "loop" : "block", { params: [], results: [type] });
  // A loop that nothing branches back to runs once; one that something does needs fuel.
  if (body.labels.at(-1)?.types.length === 0) body.burn(1);
  statements(body, depth - 1, 2);
  expression(body, type, depth - 1);
  body.close();
}

function callFor(body: Body, type: ValueType, depth: number): void {
  const results = call(body, depth, (candidate) => candidate.results.includes(type));
  if (results === undefined) leaf(body, type);
  else keepOne(body, results, type);
}

/** Of several values on the stack leaves the last one of the type. */
function keepOne(body: Body, results: readonly ValueType[], type: ValueType): void {
  const at = results.lastIndexOf(type);
  for (let i = results.length - 1; i > at; i--) body.op("drop");
  if (at === 0) return;
  const local = body.localFor(type);
  body.op("local.set", local);
  for (let i = 0; i < at; i++) body.op("drop");
  body.op("local.get", local);
}

/** A conditional branch out that takes the value along, and leaves it if the branch is not taken. */
function branchWithValue(body: Body, type: ValueType, depth: number): void {
  const targets = body.labels.flatMap((label, index) =>
    label.types.length === 1 && label.types[0] === type ? [index] : [],
  );
  if (targets.length === 0) {
    body.open("block", { params: [], results: [type] });
    branchOut(body, depth - 1);
    expression(body, type, depth - 1);
    body.close();
    return;
  }
  const target = body.choices.pick(targets);
  expression(body, type, depth - 1);
  expression(body, "i32", depth - 1);
  body.op("br_if", body.depthOf(target));
}

function question(body: Body, depth: number): void {
  const { choices, shape } = body;
  choices.weighted<() => void>([
    [2, () => tableQuestion(body, depth)],
    [shape.memory ? 2 : 0, () => body.op("memory.size", 0)],
    [
      shape.memory ? 2 : 0,
      () => {
        if (choices.oneIn(3)) expression(body, "i32", depth - 1);
        else body.i32(choices.pick([0, 1, 1, 2, 70000, -1]));
        body.op("memory.grow", 0);
      },
    ],
  ])();
}
