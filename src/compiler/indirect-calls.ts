/**
 * Makes the indirect calls of wasm2c's C cheap.
 *
 * - A function type is a small number, the same in all modules of an image, so that comparing two is one instruction; wasm2c compares 32 bytes where pointers to
 *   them differ.
 * - An element of a table points to the function itself, not to a wrapper that only changes a pointer's type.
 * - A table that nothing can change once it is filled is a constant: for each type that is called through it there is an array of the functions of that type,
 *   with functions that trap at all other places. So no type is looked at, and booting fills no table.
 *
 * What is a constant is found in the C text, which is all that is ever compiled: a table is one if every mention of it is known, and none can change it or hand it
 * to others.
 */
import { BarecellError } from "../errors.ts";

/** Largest sum of a module's constant arrays: beyond it they would cost more memory and cache than the comparison. */
const MAX_ARRAYS_BYTES = 64 * 1024;
/** Each is looked for in all of the text; compilers make one, and only who wants to waste time makes many. */
const MOST_TABLES = 8;
const POINTER_BYTES = 8;

/** @param sources wasm2c's C, one for each module of the image @returns the same with numbers for function types */
export function numberFunctionTypes(sources: readonly string[]): string[] {
  const numbers = new Map<string, number>();
  return sources.map((source) => {
    const own = new Map<string, number>();
    const defined = source.replace(
      /^FUNC_TYPE(?:_EXTERN)?_T\((\w+)\) = "((?:\\x[0-9a-f]{2}){32})";$/gm,
      (_line, name: string, identity: string) => {
        const number = numbers.get(identity) ?? numbers.size + 1;
        numbers.set(identity, number);
        own.set(name, number);
        return "";
      },
    );
    const text = defined
      .replace(/^FUNC_TYPE_DECL_EXTERN_T\(\w+\);$/gm, "")
      .replace(EQUAL_TYPES.from, EQUAL_TYPES.to);
    if (
      /^FUNC_TYPE\w*_T\(/m.test(text) ||
      text.includes(EQUAL_TYPES.from) ||
      !text.includes(EQUAL_TYPES.to)
    ) {
      throw new BarecellError(
        "BARECELL_COMPILE_FAILED",
        "the installed version of the npm package wabt is not the one barecell knows (1.0.39): its output declares function types in another way",
      );
    }
    // 0 is the null reference's.
    const definitions = [...own].map(([name, number]) => `#define ${name} ${NUMBERED}${number})\n`);
    return before(text, COMPARISON, definitions.join(""));
  });
}

const COMPARISON = "static inline bool func_types_eq(";
const NUMBERED = "((wasm_rt_func_type_t)(uintptr_t)";
const EQUAL_TYPES = {
  from: "  return (a == b) || LIKELY(a && b && !memcmp(a, b, 32));\n",
  to: "  return a == b;\n",
} as const;

/** Where nothing that is declared before is missing, and everything that calls comes after. */
const CALL_MACRO = "#define CALL_INDIRECT(table, t, ft, x, ...)";
const CALL_FIXED = `#define CALL_FIXED(t, functions, count, x, ...) \\
  ((LIKELY((x) < count) || TRAP(OOB_TABLE)), ((t)functions[x])(__VA_ARGS__))

`;
/** Tables are filled here, after the elements' own arrays and the functions' declarations. */
const INIT_TABLES = "static void init_tables(";
/** Their names keep them out of backtraces (src/vm/backtrace.ts). */
const TRAPS = {
  none: "bc_uninitialized_element",
  other: "bc_other_type",
} as const;
const TRAPPING = `static void ${TRAPS.none}(void) { TRAP(UNINITIALIZED); }
static void ${TRAPS.other}(void) { TRAP(CALL_INDIRECT); }
`;

/**
 * @param source wasm2c's C of one module
 * @param module its name, for names that no other module has
 */
export function adaptIndirectCalls(source: string, module: string): string {
  // Both take an instance and the parameters. A pointer has no type for the processor.
  const text = source.replace(/\(wasm_rt_function_ptr_t\)wrap_(w2c_)/g, "(wasm_rt_function_ptr_t)$1");
  const context = { text, module, types: numbersOf(text), segments: segmentsOf(text) };
  let room = MAX_ARRAYS_BYTES;
  let [changed, arrays, declarations] = [text, "", ""];
  for (const [allocation = "", name = ""] of [...text.matchAll(ALLOCATION)].slice(0, MOST_TABLES)) {
    const fixed = fixedTable(context, name, allocation);
    if (!fixed || fixed.bytes > room) continue;
    room -= fixed.bytes;
    changed = withFixedCalls(changed, context, name, fixed);
    for (const type of fixed.types) {
      const declaration = `const wasm_rt_function_ptr_t ${arrayName(context, name, type)}[${fixed.elements.length}]`;
      declarations += `extern ${declaration};\n`;
      const functions = fixed.elements.map((element) => functionFor(element, type));
      arrays += `${declaration} = {${functions.join(", ")}};\n`;
    }
  }
  if (arrays === "") return text;
  return before(before(changed, CALL_MACRO, declarations + CALL_FIXED), INIT_TABLES, TRAPPING + arrays);
}

interface Context {
  /** A module's C. */
  readonly text: string;
  readonly module: string;
  /** The numbers of its function types. */
  readonly types: ReadonlyMap<string, number>;
  /** The lines of its element segments, by name. */
  readonly segments: ReadonlyMap<string, string>;
}

/** @param text after `numberFunctionTypes` */
function numbersOf(text: string): ReadonlyMap<string, number> {
  const definitions = text.matchAll(/^#define (w2c_\w+) \(\(wasm_rt_func_type_t\)\(uintptr_t\)(\d+)\)$/gm);
  return new Map([...definitions].map(([, name = "", number]) => [name, Number(number)]));
}

function segmentsOf(text: string): ReadonlyMap<string, string> {
  const definitions = text.matchAll(
    /\bconst wasm_elem_segment_expr_t (\w+)\[\] = \{\n((?: {2}\{.*\},\n)*)\};/g,
  );
  return new Map([...definitions].map(([, name = "", lines = ""]) => [name, lines]));
}

/** A table of the module's own: its name and its elements at the start and at most. */
const ALLOCATION = /^ {2}wasm_rt_allocate_funcref_table\(&instance->(w2c_\w+), (\d+), \d+\);$/gm;

interface Element {
  /** Of its type: two names may stand for one. */
  readonly type: number;
  readonly function: string;
}

interface FixedTable {
  /** Undefined for null. */
  readonly elements: readonly (Element | undefined)[];
  /** Those that are called through it. */
  readonly types: readonly number[];
  /** How much its arrays take. */
  readonly bytes: number;
}

const arrayName = ({ module }: Context, table: string, type: number): string =>
  `bc_${module}_${table}_type_${type}`;

function functionFor(element: Element | undefined, type: number): string {
  if (element === undefined) return TRAPS.none;
  return element.type === type ? `(wasm_rt_function_ptr_t)${element.function}` : TRAPS.other;
}

/** A call through a table: the type of the C function, that of WebAssembly, and the index. */
const callOf = (table: string): RegExp =>
  new RegExp(
    `CALL_INDIRECT\\(instance->${table}, (\\w[^;\\n]*? \\(\\*\\)\\([^()\\n]*\\)), (w2c_\\w+), (var_\\w+), instance->${table}\\.data\\[\\3\\]\\.module_instance`,
    "g",
  );

/** A segment that fills a part of a table when the module is instantiated: name, its elements, where to, from where, and how many. */
const fillOf = (table: string): RegExp =>
  new RegExp(
    `^ {2}funcref_table_init\\(&instance->${table}, (\\w+), (\\d+), (\\d+)u, (\\d+), (\\d+), instance\\);\\n`,
    "gm",
  );

/** @returns undefined for a table that something may change, or that something else than a call looks at */
function fixedTable(context: Context, name: string, allocation: string): FixedTable | undefined {
  const { text } = context;
  const calls = [...text.matchAll(callOf(name))];
  const fills = [...text.matchAll(fillOf(name))];
  // Its allocation and the end of it, each fill, and each call twice.
  const known = 2 + fills.length + 2 * calls.length;
  const mentions = text.match(new RegExp(`\\b${name}\\b`, "g"))?.length;
  if (mentions !== known || !text.includes(`  wasm_rt_free_funcref_table(&instance->${name});\n`)) {
    return undefined;
  }
  const count = Number(/, (\d+), \d+\);$/.exec(allocation)?.[1]);
  const types = [...new Set(calls.map(([, , type = ""]) => context.types.get(type) ?? 0))];
  const bytes = count * types.length * POINTER_BYTES;
  if (count === 0 || types.length === 0 || types.includes(0) || bytes > MAX_ARRAYS_BYTES) return undefined;
  const elements: (Element | undefined)[] = Array.from({ length: count });
  for (const [, segment = "", ...numbers] of fills) {
    const [size = 0, to = 0, from = 0, length = 0] = numbers.map(Number);
    const own = elementsOf(context, segment);
    // Filling past the end is a trap, and stays one.
    if (own?.length !== size || from + length > size || to + length > count) return undefined;
    elements.splice(to, length, ...own.slice(from, from + length));
  }
  return { elements, types, bytes };
}

/** @returns undefined if a segment has something else than the module's own functions and null */
function elementsOf({ types, segments }: Context, segment: string): (Element | undefined)[] | undefined {
  const lines = segments.get(segment)?.split("\n").slice(0, -1);
  if (!lines) return undefined;
  const elements = lines.map((line) => {
    if (/^ {2}\{RefNull, /.test(line)) return null;
    const [, type = "", name = ""] =
      /^ {2}\{RefFunc, (w2c_\w+), \(wasm_rt_function_ptr_t\)(\w+), \{NULL\}, 0\},$/.exec(line) ?? [];
    const number = types.get(type);
    return number === undefined ? undefined : { type: number, function: name };
  });
  return elements.includes(undefined) ? undefined : elements.map((element) => element ?? undefined);
}

function withFixedCalls(text: string, context: Context, name: string, { elements }: FixedTable): string {
  return text
    .replace(
      callOf(name),
      (_call, cType: string, type: string, index: string) =>
        `CALL_FIXED(${cType}, ${arrayName(context, name, context.types.get(type) ?? 0)}, ${elements.length}u, ${index}, instance`,
    )
    .replace(fillOf(name), "");
}

/** Puts a text before another one, which must be there exactly once. */
function before(text: string, mark: string, addition: string): string {
  const at = text.indexOf(mark);
  if (at < 0 || text.indexOf(mark, at + 1) >= 0) {
    throw new BarecellError(
      "BARECELL_COMPILE_FAILED",
      `the installed version of the npm package wabt is not the one barecell knows (1.0.39): its output lacks '${mark.trim()}'`,
    );
  }
  return text.slice(0, at) + addition + text.slice(at);
}
