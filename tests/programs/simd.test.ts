/** Every SIMD instruction of WebAssembly 2.0 over edge values, against V8. */
import { beforeAll, describe, expect, it } from "vitest";
import { MicroVM, type TargetCpu } from "../support/barecell.ts";
import { announceSkip, hasAvx, hasSimde } from "../support/environment.ts";
import { imageOfBytes, wat } from "../support/modules.ts";

/** Lanes that go wrong first: limits of every width, signed zeros, infinities, NaNs quiet and signalling, halves, numbers between integers and their limits. */
const I32 = [0, 1, -1, 0x7fffffff, -0x80000000, 0x7fff8000, 0x80007fff, 0x00ff0100, 0x12345678, -2];
const F32 = [
  0,
  -0,
  1.5,
  -2.5,
  0.5,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2147483648,
  -2147483904,
  4294967040,
  1e-45,
  16777217,
];
const F32_BITS = [0x7fc00000, 0xffc00000, 0x7f800001, 0xffa00000];
const F64 = [
  0,
  -0,
  0.5,
  -1.5,
  2147483647.5,
  -2147483648.9,
  4294967295.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  5e-324,
  1.7976931348623157e308,
  -3,
];

function vectors(): Uint8Array {
  const bytes: number[] = [];
  const push = (count: number, set: (view: DataView) => void): void => {
    const view = new DataView(new ArrayBuffer(count));
    set(view);
    bytes.push(...new Uint8Array(view.buffer));
  };
  for (let i = 0; i < I32.length; i++) {
    for (let lane = 0; lane < 4; lane++)
      push(4, (v) => v.setInt32(0, I32[(i + lane * 3) % I32.length] ?? 0, true));
  }
  for (let i = 0; i < F32.length; i++) {
    for (let lane = 0; lane < 3; lane++)
      push(4, (v) => v.setFloat32(0, F32[(i + lane * 5) % F32.length] ?? 0, true));
    push(4, (v) => v.setUint32(0, F32_BITS[i % F32_BITS.length] ?? 0, true));
  }
  for (let i = 0; i < F64.length; i++) {
    for (let lane = 0; lane < 2; lane++)
      push(8, (v) => v.setFloat64(0, F64[(i + lane * 7) % F64.length] ?? 0, true));
  }
  push(16, (v) => {
    for (let i = 0; i < 16; i++)
      v.setUint8(i, [0, 15, 16, 17, 127, 128, 255, 240, 31, 1, 2, 3, 200, 14, 100, 7][i] ?? 0);
  });
  return Uint8Array.from(bytes);
}

const each = (shapes: readonly string[], names: readonly string[]): string[] =>
  shapes.flatMap((shape) => names.map((name) => `${shape}.${name}`));

const INTEGERS = ["i8x16", "i16x8", "i32x4", "i64x2"];
const FLOATS = ["f32x4", "f64x2"];

const UNARY = [
  "v128.not",
  ...each(INTEGERS, ["abs", "neg"]),
  "i8x16.popcnt",
  ...each(FLOATS, ["abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest"]),
  ...each(["i16x8"], ["extadd_pairwise_i8x16_s", "extadd_pairwise_i8x16_u"]),
  ...each(["i32x4"], ["extadd_pairwise_i16x8_s", "extadd_pairwise_i16x8_u"]),
  ...["low", "high"].flatMap((half) =>
    ["s", "u"].flatMap((sign) => [
      `i16x8.extend_${half}_i8x16_${sign}`,
      `i32x4.extend_${half}_i16x8_${sign}`,
      `i64x2.extend_${half}_i32x4_${sign}`,
    ]),
  ),
  ...["s", "u"].flatMap((sign) => [
    `i32x4.trunc_sat_f32x4_${sign}`,
    `i32x4.trunc_sat_f64x2_${sign}_zero`,
    `f32x4.convert_i32x4_${sign}`,
    `f64x2.convert_low_i32x4_${sign}`,
  ]),
  "f32x4.demote_f64x2_zero",
  "f64x2.promote_low_f32x4",
];

const COMPARE_SIGNED = ["eq", "ne", "lt_s", "gt_s", "le_s", "ge_s"];
const COMPARE_UNSIGNED = ["lt_u", "gt_u", "le_u", "ge_u"];

const BINARY = [
  ...each(["v128"], ["and", "andnot", "or", "xor"]),
  "i8x16.swizzle",
  ...each(INTEGERS, [...COMPARE_SIGNED, "add", "sub"]),
  ...each(["i8x16", "i16x8", "i32x4"], COMPARE_UNSIGNED),
  ...each(["i8x16", "i16x8"], ["add_sat_s", "add_sat_u", "sub_sat_s", "sub_sat_u", "avgr_u"]),
  ...each(["i8x16", "i16x8", "i32x4"], ["min_s", "min_u", "max_s", "max_u"]),
  ...each(["i16x8", "i32x4", "i64x2"], ["mul"]),
  ...each(["i8x16"], ["narrow_i16x8_s", "narrow_i16x8_u"]),
  ...each(["i16x8"], ["narrow_i32x4_s", "narrow_i32x4_u", "q15mulr_sat_s"]),
  "i32x4.dot_i16x8_s",
  ...["low", "high"].flatMap((half) =>
    ["s", "u"].flatMap((sign) => [
      `i16x8.extmul_${half}_i8x16_${sign}`,
      `i32x4.extmul_${half}_i16x8_${sign}`,
      `i64x2.extmul_${half}_i32x4_${sign}`,
    ]),
  ),
  ...each(FLOATS, [
    "eq",
    "ne",
    "lt",
    "gt",
    "le",
    "ge",
    "add",
    "sub",
    "mul",
    "div",
    "min",
    "max",
    "pmin",
    "pmax",
  ]),
];

/** As a random module had it that did not link. */
const CONSTANT = "(v128.const i32x4 0xa777759e 0x9dbff4a9 0xa777759e 0x9dbff4a9)";

/** A function for each instruction: from a vector at `$a` (and `$b`), to one at `$to`. Those whose result is no vector are made one. */
const FUNCTIONS = new Map<string, string>([
  ...UNARY.map((name) => [name, `(${name} (v128.load (local.get $a)))`] as const),
  ...BINARY.map((name) => [name, `(${name} (v128.load (local.get $a)) (v128.load (local.get $b)))`] as const),
  // Where one lane is used, the C compiler may make an instruction for one number of it, or a call of a function that no guest has.
  ...FLOATS.flatMap((shape) => {
    const splat = (at: string): string => `(${shape}.splat (${shape.slice(0, 3)}.load (local.get $${at})))`;
    const oneLane = (name: string, operands: string) =>
      [`${name}, one lane`, `(${shape}.splat (${shape}.extract_lane 1 (${name} ${operands})))`] as const;
    const unary = each([shape], ["abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest"]);
    const binary = each([shape], ["add", "sub", "mul", "div", "min", "max", "pmin", "pmax"]);
    return [
      ...unary.flatMap((name) => [
        oneLane(name, splat("a")),
        [`${name} of one`, `(${name} ${splat("a")})`] as const,
        [`${name} of a constant`, `(${name} ${CONSTANT})`] as const,
      ]),
      ...binary.map((name) => oneLane(name, `${splat("a")} ${splat("b")}`)),
    ];
  }),
  ...each(INTEGERS, ["shl", "shr_s", "shr_u"]).map(
    (name) => [name, `(${name} (v128.load (local.get $a)) (i32.load (local.get $b)))`] as const,
  ),
  ...["v128.any_true", ...each(INTEGERS, ["all_true", "bitmask"])].map(
    (name) => [name, `(i32x4.splat (${name} (v128.load (local.get $a))))`] as const,
  ),
  [
    "v128.bitselect",
    "(v128.bitselect (v128.load (local.get $a)) (v128.load (local.get $b)) (v128.load offset=16 (local.get $b)))",
  ],
  [
    "i8x16.shuffle",
    "(i8x16.shuffle 0 17 2 19 4 21 31 7 8 25 15 11 30 13 14 16 (v128.load (local.get $a)) (v128.load (local.get $b)))",
  ],
  ...(
    [
      ["i8x16", "i32.load"],
      ["i16x8", "i32.load"],
      ["i32x4", "i32.load"],
      ["i64x2", "i64.load"],
      ["f32x4", "f32.load"],
      ["f64x2", "f64.load"],
    ] as const
  ).flatMap(([shape, load]) => [
    [`${shape}.splat`, `(${shape}.splat (${load} (local.get $a)))`] as const,
    [
      `${shape}.replace_lane`,
      `(${shape}.replace_lane 1 (v128.load (local.get $a)) (${load} (local.get $b)))`,
    ] as const,
  ]),
  ...[
    "i8x16.extract_lane_s",
    "i8x16.extract_lane_u",
    "i16x8.extract_lane_s",
    "i16x8.extract_lane_u",
    "i32x4.extract_lane",
  ].map((name) => [name, `(i32x4.splat (${name} 1 (v128.load (local.get $a))))`] as const),
  ["i64x2.extract_lane", "(i64x2.splat (i64x2.extract_lane 1 (v128.load (local.get $a))))"],
  ["f32x4.extract_lane", "(f32x4.splat (f32x4.extract_lane 3 (v128.load (local.get $a))))"],
  ["f64x2.extract_lane", "(f64x2.splat (f64x2.extract_lane 1 (v128.load (local.get $a))))"],
  ...[
    "8x8_s",
    "8x8_u",
    "16x4_s",
    "16x4_u",
    "32x2_s",
    "32x2_u",
    "8_splat",
    "16_splat",
    "32_splat",
    "64_splat",
    "32_zero",
    "64_zero",
  ].map((kind) => [`v128.load${kind}`, `(v128.load${kind} offset=3 (local.get $a))`] as const),
  ...["8", "16", "32", "64"].map(
    (width) =>
      [
        `v128.load${width}_lane`,
        `(v128.load${width}_lane 1 (local.get $a) (v128.load (local.get $b)))`,
      ] as const,
  ),
]);

const names = [...FUNCTIONS.keys()];
const source = `(module (memory (export "memory") 2)
  ${names
    .map(
      (name) =>
        `(func (export "${name}") (param $a i32) (param $b i32) (param $to i32) (v128.store (local.get $to) ${FUNCTIONS.get(name)}))`,
    )
    .join("\n")}
  ${["8", "16", "32", "64"]
    .map(
      (width) =>
        `(func (export "v128.store${width}_lane") (param $a i32) (param $b i32) (param $to i32)
          (v128.store (local.get $to) (v128.const i64x2 0 0)) (v128.store${width}_lane offset=5 1 (local.get $to) (v128.load (local.get $a))))`,
    )
    .join("\n")})`;
const ALL = [...names, ...["8", "16", "32", "64"].map((width) => `v128.store${width}_lane`)];

/** Results of floating-point instructions, with every NaN made the same: its bits are the implementation's to choose (WebAssembly 4.3.3). */
function canonical(name: string, bytes: Uint8Array): string {
  const copy = new DataView(Uint8Array.from(bytes).buffer);
  const computes =
    /\.(sqrt|ceil|floor|trunc|nearest|add|sub|mul|div|min|max|demote_f64x2_zero|promote_low_f32x4)(?:,| |$)/.test(
      name,
    );
  if (computes && name.startsWith("f32x4")) {
    for (let at = 0; at < 16; at += 4)
      if (Number.isNaN(copy.getFloat32(at, true))) copy.setUint32(at, 0x7fc00000, true);
  } else if (computes && name.startsWith("f64x2")) {
    for (let at = 0; at < 16; at += 8)
      if (Number.isNaN(copy.getFloat64(at, true))) copy.setBigUint64(at, 0x7ff8n << 48n, true);
  }
  return Buffer.from(copy.buffer).toString("hex");
}

const RESULTS_AT = 0x10000;

if (!hasSimde) announceSkip("SIMD instructions", "libsimde-dev is not installed");

/** What SIMDe does depends on the processor that it may count on, too. */
const VARIANTS: readonly (readonly [optimize: 1 | 2, targetCpu: TargetCpu])[] = [
  [1, "x86-64-v2"],
  [2, "x86-64-v2"],
  ...(hasAvx ? ([[2, "x86-64-v3"]] as const) : []),
];

describe.skipIf(!hasSimde).each(VARIANTS)("SIMD at -O%i for %s, against V8", (optimize, targetCpu) => {
  const inputs = vectors();
  const count = inputs.length / 16;
  let vm: MicroVM;
  let v8: Readonly<Record<string, unknown>>;
  let v8Memory: Uint8Array;
  beforeAll(async () => {
    const module = wat("simd", source);
    vm = MicroVM.bootSync(await imageOfBytes(module, { optimize, targetCpu }));
    vm.memory.write(16, inputs);
    v8 = new WebAssembly.Instance(new WebAssembly.Module(module)).exports;
    v8Memory = new Uint8Array((v8["memory"] as WebAssembly.Memory).buffer);
    v8Memory.set(inputs, 16);
    return () => vm.dispose();
  });

  it("there are all 236 instructions of the SIMD proposal, but those that every function here uses", () => {
    // v128.load, v128.store and v128.const.
    expect(new Set(ALL.filter((name) => !name.includes(" "))).size).toBe(236 - 3);
  });
  it.each(ALL)("%s", (name) => {
    const pairs: string[] = [];
    for (let a = 0; a < count; a++) {
      for (const b of [a, (a + 1) % count, (a + 11) % count]) {
        const args = [16 + a * 16, 16 + b * 16, RESULTS_AT] as const;
        vm.callSync(name, ...args);
        (v8[name] as (...args: number[]) => void)(...args);
        const got = canonical(name, vm.memory.read(RESULTS_AT, 16));
        const want = canonical(name, v8Memory.subarray(RESULTS_AT, RESULTS_AT + 16));
        if (got !== want) {
          const operand = (i: number): string =>
            Buffer.from(inputs.subarray(i * 16, i * 16 + 16)).toString("hex");
          pairs.push(`${operand(a)} ${operand(b)}: ${got}, V8 ${want}`);
        }
      }
    }
    expect(pairs).toEqual([]);
  });
});
