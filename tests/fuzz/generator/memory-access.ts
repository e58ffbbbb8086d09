/** Loads, stores and bulk operations: inside, at the very end of memory, across it, and far out where base and offset wrap. */
import { LOADS_AND_STORES, type Op, SIMD, type ValueType } from "../wasm/opcodes.ts";
import type { Body } from "./body.ts";
import { expression } from "./expressions.ts";
import { PAGE } from "./shape.ts";

const ACCESSES = [...LOADS_AND_STORES, ...SIMD.filter((op) => op.immediates.startsWith("memarg"))];
const LOADS = ACCESSES.filter((op) => op.results.length > 0);
const SCALAR_STORES = LOADS_AND_STORES.filter((op) => op.results.length === 0);
const STORES = ACCESSES.filter((op) => op.results.length === 0);

/** Bytes that an access touches. */
export function accessWidth(op: Op): number {
  const named = /(?:load|store)(\d+)(?:x(\d))?/.exec(op.name);
  if (named) return (Number(named[1]) / 8) * Number(named[2] ?? 1);
  const type = op.results[0] ?? op.params[1];
  return type === "v128" ? 16 : type === "i64" || type === "f64" ? 8 : 4;
}

/** Where vector lanes end, by the width of a lane in bytes. */
const laneCount = (op: Op): number => 16 / accessWidth(op);

/** Leaves an address on the stack and gives the static offset that goes with it. */
function address(body: Body, width: number, depth: number): number {
  const { choices } = body;
  const pages = body.shape.memory?.min ?? 0;
  const end = pages * PAGE;
  const small = (): number => {
    body.i32(choices.below(256));
    return choices.oneIn(3) ? choices.below(64) : 0;
  };
  const masked = (): number => {
    expression(body, "i32", depth - 1);
    body.i32(choices.pick([0xff, 0xfff, 0xfff8, 0x3ff0])).op("i32.and");
    return choices.pick([0, 0, 1, 8, 255]);
  };
  const lastInside = (): number => {
    body.i32(end - width - choices.below(9));
    return 0;
  };
  if (body.calm) {
    return choices.weighted([
      [4, small],
      [4, masked],
      [end > 0 ? 1 : 0, lastInside],
    ])();
  }
  return choices.weighted([
    [6, small],
    [6, masked],
    [3, lastInside],
    // Across the end of the memory as it was at first: some bytes inside, some outside.
    [
      2,
      () => {
        body.i32(end - choices.below(width + 2));
        return 0;
      },
    ],
    // The same with the distance in the offset.
    [
      2,
      () => {
        body.i32(choices.below(4));
        return Math.max(end - choices.below(width + 4), 0);
      },
    ],
    // Around the end of the memory as it is now.
    [
      2,
      () => {
        body.op("memory.size", 0).i32(16).op("i32.shl");
        body.i32(choices.below(width + 6)).op("i32.sub");
        return choices.pick([0, 0, 1]);
      },
    ],
    // Base plus offset passes 2^32: it must trap, not wrap around to the start.
    [
      1,
      () => {
        body.i32(-1 - choices.below(32));
        return choices.pick([0, 1, 16, 32, 0xffff, 0x7fffffff, 0xffffffff, 0xfffffff0]);
      },
    ],
    [
      1,
      () => {
        expression(body, "i32", depth - 1);
        return choices.pick([0, 1, end, 0x80000000, 0xffffffff]);
      },
    ],
  ])();
}

function memarg(body: Body, op: Op, offset: number): void {
  const natural = Math.log2(accessWidth(op));
  body.opcode(op).u32(body.choices.below(natural + 1));
  body.u32(offset);
  if (op.immediates === "memarg lane") body.byte(body.choices.below(laneCount(op)));
}

/** @returns false if nothing was written, because there is no memory or no load of the type */
export function load(body: Body, type: ValueType, depth: number): boolean {
  const fitting = LOADS.filter((op) => op.results[0] === type);
  if (!body.shape.memory || fitting.length === 0) return false;
  const op = body.choices.pick(fitting);
  const offset = address(body, accessWidth(op), depth);
  // load8_lane and its like also take the vector whose other lanes stay.
  for (const param of op.params.slice(1)) expression(body, param, depth - 1);
  memarg(body, op, offset);
  return true;
}

export function store(body: Body, depth: number): void {
  const op = body.choices.pick(body.shape.hasSimd ? STORES : SCALAR_STORES);
  const offset = address(body, accessWidth(op), depth);
  for (const param of op.params.slice(1)) expression(body, param, depth - 1);
  memarg(body, op, offset);
}

/**
 * Accesses that a C compiler would like to make one of: neighbours of one width, with constants or with the parts of one value, often across the
 * end of memory, where some must happen and the next one trap; in one direction or the other.
 */
export function neighbours(body: Body, depth: number): void {
  const { choices, shape } = body;
  const op = choices.pick(SCALAR_STORES.filter(({ name }) => name.startsWith("i")));
  const type = op.params[1] ?? "i32";
  const width = accessWidth(op);
  const count = 2 + choices.below(7);
  const end = (shape.memory?.min ?? 0) * PAGE;
  const across = choices.oneIn(body.calm ? 6 : 2);
  const first = across ? Math.max(end - width * (1 + choices.below(count)) - choices.below(2), 0) : 64;
  const base = body.localFor("i32");
  const value = body.localFor(type);
  if (choices.oneIn(2)) body.i32(choices.below(8));
  else expression(body, "i32", depth - 1);
  body
    .i32(across ? choices.pick([0, 1, 3]) : 0xff)
    .op("i32.and")
    .op("local.set", base);
  expression(body, type, depth - 1);
  body.op("local.set", value);
  const asParts = choices.oneIn(2);
  const descending = choices.oneIn(4);
  for (let i = 0; i < count; i++) {
    const at = descending ? count - 1 - i : i;
    body.op("local.get", base);
    if (asParts)
      body
        .op("local.get", value)
        .constant(type, BigInt(8 * width * at))
        .op(`${type}.shr_u`);
    else body.constant(type, BigInt(choices.below(256)));
    body
      .opcode(op)
      .u32(0)
      .u32(first + width * at);
  }
}

/** Something written that is written again, and in between what may trap: then the first must be there, and not the second. */
export function overwritten(body: Body, depth: number): void {
  const { choices, shape } = body;
  const globals = shape.globals.flatMap(({ mutable }, index) =>
    mutable && index !== shape.fuelGlobal ? [index] : [],
  );
  const isGlobal = globals.length > 0 && (!shape.memory || choices.oneIn(3));
  const global = isGlobal ? choices.pick(globals) : 0;
  const op = choices.pick(SCALAR_STORES);
  const type = isGlobal ? (shape.globals[global]?.type ?? "i32") : (op.params[1] ?? "i32");
  const at = choices.below(64);
  const put = (): void => {
    if (!isGlobal) body.i32(at);
    expression(body, type, 1);
    if (isGlobal) body.op("global.set", global);
    else memarg(body, op, 128);
  };
  put();
  between(body, depth);
  put();
}

function between(body: Body, depth: number): void {
  const { choices, shape } = body;
  const end = (shape.memory?.min ?? 0) * PAGE;
  const load = choices.pick(LOADS_AND_STORES.filter(({ results }) => results.length > 0));
  choices.weighted<() => void>([
    [
      4,
      () => {
        expression(body, "i32", depth - 1);
        body.op("drop");
      },
    ],
    [
      shape.memory ? 2 : 0,
      () => {
        body.i32(end - choices.below(9));
        memarg(body, load, 0);
        body.op("drop");
      },
    ],
    [
      shape.memory ? 2 : 0,
      () => {
        body.i32(end - choices.below(9));
        expression(body, "i64", 1);
        body.op("i64.store", choices.below(4), 0);
      },
    ],
    [
      1,
      () => {
        expression(body, "i32", 1);
        expression(body, "i32", 1);
        body.op(choices.pick(["i32.div_s", "i32.rem_u"])).op("drop");
      },
    ],
  ])();
}

/** memory.grow, what it returns, and the first and last bytes that it brings. */
export function growth(body: Body, depth: number): void {
  const { choices } = body;
  const before = body.localFor("i32");
  body
    .i32(choices.pick([1, 0, 2, 1, 3, 70_000, -1]))
    .op("memory.grow", 0)
    .op("local.set", before);
  body.i32(choices.below(128)).op("local.get", before).op("i32.store16", 1, 0);
  if (choices.oneIn(2)) return;
  // Where it failed, this is address -65536, which traps.
  const isGuarded = body.calm || choices.oneIn(2);
  if (isGuarded) {
    body.op("local.get", before).op("memory.size", 0).op("i32.lt_u");
    body.open("if", { params: [], results: [] });
  }
  const isLast = choices.oneIn(2);
  if (isLast) body.op("memory.size", 0).i32(16).op("i32.shl").i32(8).op("i32.sub");
  else body.op("local.get", before).i32(16).op("i32.shl");
  expression(body, "i64", depth - 1);
  body.op("i64.store", 0, isLast || body.calm ? 0 : choices.pick([0, 65_528, 65_529]));
  if (isGuarded) body.close();
}

/** Start and length for a bulk operation over `size` bytes or elements. */
export function range(body: Body, size: number, depth: number): { start(): void; length(): void } {
  const { choices } = body;
  const inside = choices.below(Math.min(size, 64) + 1);
  const dynamic = (mask: number): void => {
    expression(body, "i32", depth - 1);
    body.i32(mask).op("i32.and");
  };
  const calm = {
    start: () => (choices.oneIn(3) && size > 512 ? dynamic(0xff) : body.i32(inside)),
    length: () => body.i32(Math.min(choices.below(48), Math.max(size - inside, 0))),
  };
  if (body.calm) return calm;
  return choices.weighted([
    [4, calm],
    // Up to the end exactly, and one past it; nothing at all at the end, and past it.
    [2, { start: () => body.i32(size - inside), length: () => body.i32(inside + choices.below(2)) }],
    [2, { start: () => body.i32(size + choices.below(2)), length: () => body.i32(0) }],
    [1, { start: () => body.i32(-1), length: () => body.i32(choices.pick([0, 1, 2, -1])) }],
    [1, { start: () => body.i32(0), length: () => body.i32(choices.pick([size, size + 1, -1])) }],
    [1, { start: () => dynamic(-1), length: () => dynamic(0xff) }],
  ]);
}

/** memory.fill, copy, init, and data.drop. */
export function bulkMemory(body: Body, depth: number): void {
  const { choices, shape } = body;
  const size = (shape.memory?.min ?? 0) * PAGE;
  const target = range(body, size, depth);
  const kind = choices.weighted<"fill" | "copy" | "init" | "drop">([
    [3, "fill"],
    [4, "copy"],
    ...(shape.dataLengths.length > 0
      ? ([
          [3, "init"],
          [1, "drop"],
        ] as const)
      : []),
  ]);
  const segment = shape.dataLengths.length > 0 ? choices.below(shape.dataLengths.length) : 0;
  if (kind === "drop") {
    body.op("data.drop", segment);
  } else if (kind === "fill") {
    target.start();
    expression(body, "i32", depth - 1);
    target.length();
    body.op("memory.fill", 0);
  } else if (kind === "copy") {
    const source = range(body, size, depth);
    target.start();
    source.start();
    target.length();
    body.op("memory.copy", 0, 0);
  } else {
    const source = range(body, shape.dataLengths[segment] ?? 0, depth);
    target.start();
    source.start();
    source.length();
    body.op("memory.init", segment, 0);
  }
}
