/**
 * Shrinks the modules of a unit as they are, instruction by instruction: for what no list of decisions stands behind, and for the rest that
 * such a list leaves. Whatever is cut out or replaced by a constant, V8's validation says whether it is still a module; only then is it tried.
 */

import { Code } from "../harness/code.ts";
import { nansAreDetermined } from "../harness/nan.ts";
import type { Unit } from "../harness/unit.ts";
import { decodeModule } from "../wasm/decode.ts";
import { type Instruction, instructions } from "../wasm/instructions.ts";
import { emptyModule, encodeModule, type Module, typeOfFunction } from "../wasm/module.ts";
import type { ValueType } from "../wasm/opcodes.ts";
import type { Reduced } from "./calls.ts";
import type { Candidate, Search } from "./search.ts";

type Step = (module: Module, used: ReadonlySet<string>) => Generator<Module>;

/** Longest run of instructions that is cut out at once, other than whole blocks. */
const LONGEST = 24;

export async function reduceModules(search: Search, start: Reduced): Promise<Reduced> {
  let best = start;
  for (let changed = true; changed && !search.isOver; ) {
    changed = false;
    for (let index = best.unit.modules.length - 1; index >= 0; index--) {
      for (const step of STEPS) {
        const result = await runStep(search, best, index, step);
        if (!result) continue;
        best = result;
        changed = true;
      }
    }
  }
  return best;
}

/** Takes one step through all its candidates; after one that led on, from about there in what is left. */
async function runStep(
  search: Search,
  start: Reduced,
  index: number,
  step: Step,
): Promise<Reduced | undefined> {
  let best: Reduced | undefined;
  for (let from = 0; ; ) {
    const { unit, difference }: Reduced = best ?? start;
    const result = await search.first(difference, candidates(unit, index, step, from));
    if (!result) return best;
    best = { unit: result.unit, difference: result.difference };
    from = result.item;
    search.onProgress(`${best.unit.modules.reduce((sum, { bytes }) => sum + bytes.length, 0)} bytes`);
  }
}

/** @param from how many candidates to leave out; each yields its own number */
function* candidates(unit: Unit, index: number, step: Step, from: number): Generator<Candidate<number>> {
  const current = unit.modules[index];
  if (!current) return;
  const used = new Set(unit.calls.filter(({ module }) => module === current.name).map((call) => call.export));
  // What later modules import must stay.
  for (const { link, bytes } of unit.modules) {
    for (const entry of decodeModule(bytes).imports) {
      if (link[entry.module] === current.name) used.add(entry.name);
    }
  }
  let number = 0;
  for (const module of step(decodeModule(current.bytes), used)) {
    if (number++ < from) continue;
    if (unit.nan && !nansAreDetermined(module, unit.nan)) continue;
    const bytes = encodeModule(module);
    if (bytes.length >= current.bytes.length || !WebAssembly.validate(bytes)) continue;
    const modules = unit.modules.map((other, i) => (i === index ? { ...other, bytes } : other));
    yield { item: number - 1, unit: { ...unit, modules } };
  }
}

const withCode = (module: Module, index: number, code: Uint8Array): Module => ({
  ...module,
  functions: module.functions.map((func, i) => (i === index ? { ...func, code } : func)),
});

const ALL_TYPES: readonly ValueType[] = ["i32", "i64", "f32", "f64", "v128", "funcref", "externref"];

/** Nothing is left on the stack behind these. */
const LEAVES_NOTHING = /store|\.set$|^(drop|nop|br|br_if|br_table|return|unreachable|if|else|block|loop)$/;

/** Which type of value a run may leave that ends with an instruction. */
function typesLeft(last: Instruction | undefined): readonly ValueType[] {
  if (!last || LEAVES_NOTHING.test(last.op.name)) return [];
  return last.op.results.length > 0 ? last.op.results : ALL_TYPES;
}

/** With functions that only return zeros, or only trap, where that is shorter. */
function emptied(module: Module, from: number, to: number, trap: boolean): Module {
  const first = module.imports.filter(({ kind }) => kind === "func").length;
  const functions = module.functions.map((func, i) => {
    const code = new Code();
    if (trap) code.op("unreachable");
    else for (const result of typeOfFunction(module, first + i).results) code.zero(result);
    const empty = code.finish();
    return i >= from && i < to && empty.length < func.code.length ? { ...func, code: empty } : func;
  });
  return { ...module, functions };
}

const STEPS: readonly Step[] = [
  function* dropExports(module, used) {
    const needed = module.exports.filter(({ name, kind }) => kind === "memory" || used.has(name));
    yield { ...module, exports: needed };
    for (const entry of module.exports) {
      if (used.has(entry.name)) continue;
      yield { ...module, exports: module.exports.filter((other) => other !== entry) };
    }
  },
  function* dropStart(module) {
    if (module.start !== undefined) yield { ...module, start: undefined };
  },
  function* emptyFunctions(module) {
    // Many at once first: most of them have nothing to do with it.
    for (let size = module.functions.length; size >= 1; size = Math.floor(size / 2)) {
      for (let at = 0; at < module.functions.length; at += size) {
        yield emptied(module, at, at + size, false);
        yield emptied(module, at, at + size, true);
      }
    }
  },
  function* cutOut(module) {
    for (const [i, func] of module.functions.entries()) {
      const list = [...instructions(func.code)];
      for (const [from, to] of spans(list)) {
        yield withCode(module, i, spliced(func.code, list, from, to, NO_CODE));
      }
    }
  },
  function* replaceByConstant(module) {
    for (const [i, func] of module.functions.entries()) {
      const list = [...instructions(func.code)];
      for (const [from, to] of spans(list)) {
        for (const type of typesLeft(list[to - 1])) {
          yield withCode(module, i, spliced(func.code, list, from, to, constantOf(type)));
        }
      }
    }
  },
  function* dropLocals(module) {
    for (const [i, func] of module.functions.entries()) {
      if (func.locals.length === 0) continue;
      const last = func.locals.length - 1;
      const fewer = (locals: readonly ValueType[]): Module => ({
        ...module,
        functions: module.functions.map((other, j) => (i === j ? { ...func, locals } : other)),
      });
      yield fewer([]);
      yield fewer(func.locals.slice(0, last >> 1));
      yield fewer(func.locals.slice(0, last));
    }
  },
  function* dropLast(module) {
    const { data, elements, globals, tables, functions } = module;
    yield { ...module, elements: [] };
    yield { ...module, data: [] };
    yield { ...module, elements: elements.slice(0, -1) };
    yield { ...module, data: data.slice(0, -1) };
    yield { ...module, globals: globals.slice(0, -1) };
    yield { ...module, tables: tables.slice(0, -1) };
    yield { ...module, functions: functions.slice(0, -1) };
    yield { ...module, memories: emptyModule().memories };
  },
];

const NO_CODE = new Uint8Array(0);
const constantOf = (type: ValueType): Uint8Array => new Code().zero(type).finish().slice(0, -1);

function spliced(
  code: Uint8Array,
  list: readonly Instruction[],
  from: number,
  to: number,
  put: Uint8Array,
): Uint8Array {
  const start = list[from]?.from ?? 0;
  const end = list[to - 1]?.to ?? start;
  return Buffer.concat([code.subarray(0, start), put, code.subarray(end)]);
}

/** Runs of instructions that may be wholes: blocks with all that is in them, and short ones; the longest first. */
function spans(list: readonly Instruction[]): [number, number][] {
  const found: [number, number][] = [];
  const open: number[] = [];
  list.forEach(({ op }, i) => {
    if (op.immediates === "block") open.push(i);
    const start = op.name === "end" ? open.pop() : undefined;
    if (start !== undefined) {
      // With some of what stands before it: its operands.
      for (let before = 0; before < 8 && before <= start; before++) found.push([start - before, i + 1]);
    }
  });
  for (let length = Math.min(LONGEST, list.length - 1); length >= 1; length--) {
    for (let at = 0; at + length < list.length; at++) found.push([at, at + length]);
  }
  return found.sort((a, b) => b[1] - b[0] - (a[1] - a[0]));
}
