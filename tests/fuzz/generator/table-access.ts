/** Tables, references and calls: right ones, and through indices past the end, empty elements and wrong types. */
import type { FuncType } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import type { Body } from "./body.ts";
import { expression } from "./expressions.ts";
import { range } from "./memory-access.ts";

function tablesOf(body: Body, element: ValueType): number[] {
  return body.shape.tables.flatMap((table, index) => (table.element === element ? [index] : []));
}

/** An index into a table: mostly inside, now and then at its end or far out. */
function tableIndex(body: Body, table: number, depth: number): void {
  const { choices } = body;
  const size = body.shape.tables[table]?.limits.min ?? 0;
  if (body.calm) {
    body.i32(choices.below(Math.max(size, 1)));
    return;
  }
  choices.weighted<() => void>([
    [8, () => body.i32(choices.below(size + 1))],
    [2, () => body.op("table.size", table).i32(choices.below(2)).op("i32.sub")],
    [
      2,
      () => {
        expression(body, "i32", depth - 1);
        body.i32(7).op("i32.and");
      },
    ],
    [1, () => body.i32(choices.pick([-1, 0x7fffffff, -0x80000000]))],
    [1, () => expression(body, "i32", depth - 1)],
  ])();
}

/** A reference that is neither local nor global. */
export function reference(body: Body, type: "funcref" | "externref", depth: number): void {
  const { choices, shape } = body;
  const tables = tablesOf(body, type);
  choices.weighted<() => void>([
    [2, () => body.zero(type)],
    [
      type === "funcref" ? 4 : 0,
      () => body.op("ref.func", choices.below(Math.max(shape.functionTypes.length, 1))),
    ],
    [
      tables.length > 0 ? 3 : 0,
      () => {
        const table = choices.pick(tables);
        tableIndex(body, table, depth);
        body.op("table.get", table);
      },
    ],
  ])();
}

/** table.set, grow, fill, copy, init, and elem.drop. */
export function tableStatement(body: Body, depth: number): void {
  const { choices, shape } = body;
  if (shape.tables.length === 0) {
    body.op("nop");
    return;
  }
  const table = choices.below(shape.tables.length);
  const { element, limits } = shape.tables[table] ?? { element: "funcref", limits: { min: 0 } };
  const target = range(body, limits.min, depth);
  const segments = shape.elementSegments.flatMap((segment, index) =>
    segment.type === element ? [index] : [],
  );
  choices.weighted<() => void>([
    [
      4,
      () => {
        tableIndex(body, table, depth);
        expression(body, element, depth - 1);
        body.op("table.set", table);
      },
    ],
    [
      2,
      () => {
        expression(body, element, depth - 1);
        body.i32(choices.pick([0, 1, 2, 5, -1])).op("table.grow", table);
        body.op("drop");
      },
    ],
    [
      2,
      () => {
        target.start();
        expression(body, element, depth - 1);
        target.length();
        body.op("table.fill", table);
      },
    ],
    [
      3,
      () => {
        const from = choices.pick(tablesOf(body, element));
        const source = range(body, shape.tables[from]?.limits.min ?? 0, depth);
        target.start();
        source.start();
        target.length();
        body.op("table.copy", table, from);
      },
    ],
    [
      segments.length > 0 ? 3 : 0,
      () => {
        const segment = choices.pick(segments);
        const source = range(body, shape.elementSegments[segment]?.length ?? 0, depth);
        target.start();
        source.start();
        source.length();
        body.op("table.init", segment, table);
      },
    ],
    [
      segments.length > 0 ? 1 : 0,
      () => {
        body.op("elem.drop", choices.pick(segments));
      },
    ],
  ])();
}

/** An i32 that tells about a table or a reference. */
export function tableQuestion(body: Body, depth: number): void {
  const { choices, shape } = body;
  if (shape.tables.length > 0 && choices.oneIn(2)) {
    body.op("table.size", choices.below(shape.tables.length));
    return;
  }
  expression(body, choices.pick(["funcref", "externref"]), depth - 1);
  body.op("ref.is_null");
}

/** A call, direct or through a table; its results are left on the stack. */
export function call(
  body: Body,
  depth: number,
  wanted: (type: FuncType) => boolean,
): readonly ValueType[] | undefined {
  const { choices, shape } = body;
  const indirect = tablesOf(body, "funcref");
  if (indirect.length > 0 && choices.oneIn(2)) return callIndirect(body, depth, indirect, wanted);
  const callable = shape.functionTypes.flatMap((type, index) => (wanted(type) ? [index] : []));
  if (callable.length === 0) return undefined;
  const index = choices.pick(callable);
  const type = shape.functionTypes[index] ?? { params: [], results: [] };
  for (const param of type.params) expression(body, param, depth - 1);
  body.op("call", index);
  return type.results;
}

function callIndirect(
  body: Body,
  depth: number,
  tables: readonly number[],
  wanted: (type: FuncType) => boolean,
): readonly ValueType[] | undefined {
  const { choices, shape } = body;
  const right = shape.slots.filter(
    ({ func, table }) => tables.includes(table) && wanted(shape.functionTypes[func] ?? NOTHING),
  );
  if (right.length > 0 && (body.calm || choices.below(4) < 3)) {
    const { table, slot, func } = choices.pick(right);
    const type = shape.functionTypes[func] ?? NOTHING;
    for (const param of type.params) expression(body, param, depth - 1);
    body.i32(slot).op("call_indirect", shape.typeIndex(type), table);
    return type.results;
  }
  const types = shape.signatures.filter(wanted);
  if (body.calm || types.length === 0) return undefined;
  const type = choices.pick(types);
  const table = choices.pick(tables);
  for (const param of type.params) expression(body, param, depth - 1);
  tableIndex(body, table, depth);
  body.op("call_indirect", shape.typeIndex(type), table);
  return type.results;
}

const NOTHING: FuncType = { params: [], results: [] };
