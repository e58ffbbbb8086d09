/**
 * The specification leaves open which quiet NaN arithmetic makes: its sign, and its payload unless all NaNs that went in were canonical. Two
 * right engines may differ there, so the code under test is changed until they may not: quiet NaNs become the canonical one,
 *
 * - by the rule "arithmetic" wherever scalar arithmetic makes one. From there on every bit is determined.
 * - by the rule "observed" only where the bits of a scalar float are looked at: stored, reinterpreted, put into a vector, or taken as the
 *   sign of `copysign`. Between two operations nothing stands in the way of the compiler here, which would hide a fused multiply-add, for
 *   example.
 *
 * Vectors are always made canonical after arithmetic, as their bits can be looked at in too many ways. Signalling NaNs stay as they are, always:
 * where bits are only moved, they must arrive unchanged, and arithmetic must not let one through.
 */
import { Reader, Writer } from "../wasm/bytes.ts";
import { instructions } from "../wasm/instructions.ts";
import { addFunction, type Module } from "../wasm/module.ts";
import { type Op, opNamed, type ValueType } from "../wasm/opcodes.ts";
import { Code } from "./code.ts";

export type NanRule = "arithmetic" | "observed";

type FloatShape = NonNullable<Op["makesNan"]>;

const VALUE_TYPE: Readonly<Record<FloatShape, ValueType>> = {
  f32: "f32",
  f64: "f64",
  f32x4: "v128",
  f64x2: "v128",
};

/** Whose last operand is a scalar float whose bits become visible. */
const OBSERVERS: Readonly<Record<string, FloatShape>> = {
  "f32.store": "f32",
  "f64.store": "f64",
  "i32.reinterpret_f32": "f32",
  "i64.reinterpret_f64": "f64",
  "f32.copysign": "f32",
  "f64.copysign": "f64",
  "f32x4.splat": "f32",
  "f64x2.splat": "f64",
  "f32x4.replace_lane": "f32",
  "f64x2.replace_lane": "f64",
};

/**
 * The bits that all quiet NaNs have set; alone they are the NaN that the specification calls canonical (2.2.3). Per lane, how to compare them
 * as integers, since no comparison of floats tells one NaN from another.
 */
const QUIET: Readonly<Record<FloatShape, { readonly bits: bigint; readonly lane: string }>> = {
  f32: { bits: 0x7fc00000n, lane: "i32" },
  f64: { bits: 0x7ff8000000000000n, lane: "i64" },
  f32x4: { bits: 0x7fc000007fc000007fc000007fc00000n, lane: "i32x4" },
  f64x2: { bits: 0x7ff80000000000007ff8000000000000n, lane: "i64x2" },
};

/** The canonical NaN in place of a quiet one, else `x`; lane by lane for a vector. */
function helperCode(shape: FloatShape): Uint8Array {
  const { bits, lane } = QUIET[shape];
  const code = new Code();
  if (shape === "f32x4" || shape === "f64x2") {
    code.constant("v128", bits).op("local.get", 0).op("local.get", 0);
    code.constant("v128", bits).op("v128.and").constant("v128", bits).op(`${lane}.eq`);
    return code.op("v128.bitselect").finish();
  }
  const mask = (): Code => (shape === "f32" ? code.i32(Number(bits)) : code.i64(bits));
  code.constant(shape, bits).op("local.get", 0).op("local.get", 0).op(`${lane}.reinterpret_${shape}`);
  mask().op(`${lane}.and`);
  return mask().op(`${lane}.eq`).op("select").finish();
}

const HELPERS = (["f32", "f64", "f32x4", "f64x2"] as const).map(helperCode);

/** The functions that make NaNs canonical; each is added to the module when it is first needed. */
export class NanHelpers {
  readonly #module: Module;
  readonly #known = new Map<FloatShape, number>();

  constructor(module: Module) {
    this.#module = module;
  }

  index(shape: FloatShape): number {
    let index = this.#known.get(shape);
    if (index === undefined) {
      const type = VALUE_TYPE[shape];
      index = addFunction(this.#module, { params: [type], results: [type] }, [], helperCode(shape));
      this.#known.set(shape, index);
    }
    return index;
  }
}

/** Changes all functions that the module has now. */
export function makeNansDetermined(module: Module, rule: NanRule, helpers: NanHelpers): void {
  for (const func of [...module.functions]) func.code = rewritten(func.code, rule, helpers);
}

/** Whether every operation that `rule` asks a helper for still has one: a reducer must not cut them out. */
export function nansAreDetermined(module: Module, rule: NanRule): boolean {
  const first = module.imports.filter(({ kind }) => kind === "func").length;
  const helpers = new Set<number>();
  module.functions.forEach(({ code }, i) => {
    if (HELPERS.some((helper) => Buffer.compare(helper, code) === 0)) helpers.add(first + i);
  });
  return module.functions.every(({ code }, i) => helpers.has(first + i) || isDetermined(code, rule, helpers));
}

function isDetermined(code: Uint8Array, rule: NanRule, helpers: ReadonlySet<number>): boolean {
  let madeCanonical = false;
  let mustFollow = false;
  for (const { op, from } of instructions(code)) {
    const isHelp = op.name === "call" && helpers.has(new Reader(code, from + 1).u32());
    if (mustFollow && !isHelp) return false;
    if (rule === "observed" && OBSERVERS[op.name] !== undefined && !madeCanonical) return false;
    const made = op.makesNan;
    mustFollow = made !== undefined && (rule === "arithmetic" || VALUE_TYPE[made] === "v128");
    madeCanonical = isHelp;
  }
  return true;
}

function rewritten(code: Uint8Array, rule: NanRule, helpers: NanHelpers): Uint8Array {
  const writer = new Writer();
  const call = (shape: FloatShape): void => {
    writer.u8(opNamed("call").code).u32(helpers.index(shape));
  };
  for (const { op, from, to } of instructions(code)) {
    const observed = rule === "observed" ? OBSERVERS[op.name] : undefined;
    if (observed !== undefined) call(observed);
    writer.raw(code.subarray(from, to));
    const made = op.makesNan;
    if (made !== undefined && (rule === "arithmetic" || VALUE_TYPE[made] === "v128")) call(made);
  }
  return writer.finish();
}
