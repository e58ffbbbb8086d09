/**
 * Adapts wasm2c's output to barecell's guest. Each change replaces a known piece of text that must be there exactly once; if it is
 * not, this is another wabt than the one we know, and compiling stops rather than produce code without one of the changes.
 */
import { BarecellError } from "../errors.ts";
import type { Payments } from "./metering.ts";

interface Change {
  readonly why: string;
  readonly from: string;
  readonly to: string;
}

const CHANGES: readonly Change[] = [
  {
    why: "a load whose result is unused must still happen, but a float need not go through an integer register for it",
    from: '#else\n#define FORCE_READ_FLOAT(var) __asm__("" ::"r"(var));\n',
    to: '#else\n#define FORCE_READ_FLOAT(var) __asm__("" ::"x"(var));\n',
  },
  {
    why: "a range check on a table is another trap than one on a memory",
    from: `    uint64_t res;                                  \\
    if (UNLIKELY(add_overflow(offset, len, &res))) \\
      TRAP(OOB);                                   \\
    if (UNLIKELY(res > (mem)->size))               \\
      TRAP(OOB);                                   \\
`,
    to: `    uint64_t res;                                  \\
    if (UNLIKELY(add_overflow(offset, len, &res) || res > (mem)->size)) \\
      wasm_rt_trap(_Generic((mem), wasm_rt_memory_t*: WASM_RT_TRAP_OOB, const wasm_rt_memory_t*: WASM_RT_TRAP_OOB, default: WASM_RT_TRAP_OOB_TABLE)); \\
`,
  },
  {
    why: "an index past the table, an empty element and a wrong type are three traps; a null element has no type, so one compare finds both",
    from: `  (LIKELY((x) < table.size && table.data[x].func &&      \\
          func_types_eq(ft, table.data[x].func_type)) || \\
   TRAP(CALL_INDIRECT))
`,
    to: `  ((LIKELY((x) < table.size) || TRAP(OOB_TABLE)),        \\
   (LIKELY(func_types_eq(ft, table.data[x].func_type)) || \\
    (table.data[x].func ? TRAP(CALL_INDIRECT) : TRAP(UNINITIALIZED))))
`,
  },
  {
    why: "table.get past the end is a table's trap",
    from: `    if (UNLIKELY(i >= table->size))                   \\
      TRAP(OOB);                                      \\
    return table->data[i];`,
    to: `    if (UNLIKELY(i >= table->size))                   \\
      TRAP(OOB_TABLE);                                \\
    return table->data[i];`,
  },
  {
    why: "table.set past the end is a table's trap",
    from: `    if (UNLIKELY(i >= table->size))                                          \\
      TRAP(OOB);                                                             \\
    table->data[i] = val;`,
    to: `    if (UNLIKELY(i >= table->size))                                          \\
      TRAP(OOB_TABLE);                                                       \\
    table->data[i] = val;`,
  },
  {
    why: "table.init past the segment is a table's trap",
    from: `                                      void* module_instance) {
  if (UNLIKELY(src_addr + (uint64_t)n > src_size))
    TRAP(OOB);`,
    to: `                                      void* module_instance) {
  if (UNLIKELY(src_addr + (uint64_t)n > src_size))
    TRAP(OOB_TABLE);`,
  },
  {
    why: "table.init past the segment is a table's trap, for externref as well",
    from: `                                        u32 n) {
  if (UNLIKELY(src_addr + (uint64_t)n > src_size))
    TRAP(OOB);
  RANGE_CHECK(dest, dest_addr, n);
  for (u32 i = 0; i < n; i++) {
    dest->data[dest_addr + i] = wasm_rt_externref_null_value;`,
    to: `                                        u32 n) {
  if (UNLIKELY(src_addr + (uint64_t)n > src_size))
    TRAP(OOB_TABLE);
  RANGE_CHECK(dest, dest_addr, n);
  for (u32 i = 0; i < n; i++) {
    dest->data[dest_addr + i] = wasm_rt_externref_null_value;`,
  },
  {
    // wasm2c means this for memories with other pages or 64-bit addresses, which are refused; it also takes it for vectors' lanes, splats and halves.
    why: "page tables check the bounds of every memory access",
    from: `#define MEMCHECK_GENERAL(mem, a, t) \\
  WASM_RT_CHECK_BASE(mem);          \\
  RANGE_CHECK(mem, a, sizeof(t));
`,
    to: `#define MEMCHECK_GENERAL(mem, a, t) MEMCHECK_DEFAULT32(mem, a, t)
`,
  },
  {
    why: "what the processor tells of floating-point numbers by itself is not asked in C",
    from: "static inline void memory_fill(wasm_rt_memory_t* mem, u64 d, u32 val, u64 n) {\n",
    to: '#include "numeric.h"\nstatic inline void memory_fill(wasm_rt_memory_t* mem, u64 d, u32 val, u64 n) {\n',
  },
  {
    why: "an element segment's imported function is told from the module's own",
    from: "typedef enum { RefFunc, RefNull, GlobalGet } wasm_elem_segment_expr_type_t;",
    to: "typedef enum { RefFunc, RefImport, RefNull, GlobalGet } wasm_elem_segment_expr_type_t;",
  },
  {
    why: "an imported function in a table gets its own module's instance, not the place where the pointer to it is",
    from: `            (char*)module_instance + src_expr->module_offset};
        break;
`,
    to: `            (char*)module_instance + src_expr->module_offset};
        break;
      case RefImport:
        *dest_val = (wasm_rt_funcref_t){
            src_expr->type, src_expr->func, src_expr->func_tailcallee,
            *(void**)((char*)module_instance + src_expr->module_offset)};
        break;
`,
  },
];

/**
 * An access that traps does so in the middle of the program, and what was written before it must be there, and nothing of what comes after. To the
 * C compiler it is plain memory: without these words it merges a store that fits with the next one that does not, drops one that a later store overwrites, or
 * moves one across a load.
 */
const KEEP_ORDER = '__asm__ volatile("" ::: "memory");';

const PRECISE: readonly Change[] = [
  {
    why: "a store stays between what is before and after it",
    from: `    t1 wrapped = (t1)value;                                            \\
    wasm_rt_memcpy(MEM_ADDR_MEMOP(mem, addr, sizeof(t1)), &wrapped,    \\
                   sizeof(t1));                                        \\
`,
    to: `    t1 wrapped = (t1)value;                                            \\
    ${KEEP_ORDER}                                  \\
    wasm_rt_memcpy(MEM_ADDR_MEMOP(mem, addr, sizeof(t1)), &wrapped,    \\
                   sizeof(t1));                                        \\
    ${KEEP_ORDER}                                  \\
`,
  },
  {
    why: "what a load is forced to deliver is the whole value, so that the instruction that loads may extend it too",
    from: `    force_read(result);                                                \\
    return (t3)(t2)result;                                             \\
`,
    to: `    t3 extended = (t3)(t2)result;                                      \\
    force_read(extended);                                              \\
    return extended;                                                   \\
`,
  },
];

/** Only in modules that use SIMD. */
const PRECISE_SIMD: readonly Change[] = [
  {
    why: "a store of a vector stays between what is before and after it",
    from: `    simde_wasm_v128_store(MEM_ADDR(mem, addr, sizeof(t)), value);      \\
`,
    to: `    ${KEEP_ORDER}                                  \\
    simde_wasm_v128_store(MEM_ADDR(mem, addr, sizeof(t)), value);      \\
    ${KEEP_ORDER}                                  \\
`,
  },
  {
    why: "a store of a lane stays between what is before and after it",
    from: `    func(MEM_ADDR(mem, addr, sizeof(t)), value, lane);                 \\
`,
    to: `    ${KEEP_ORDER}                                  \\
    func(MEM_ADDR(mem, addr, sizeof(t)), value, lane);                 \\
    ${KEEP_ORDER}                                  \\
`,
  },
];

/** A module of one memory, its own or an imported one, has the memory's place in its code: no base to load, no bounds to check. */
function memoryAddress(base: number | undefined): Change {
  const places = {
    none: "(mem)->data + (addr)",
    zero: "(u8*)(uintptr_t)(addr)",
    constant: `(u8*)(${base}ull + (uintptr_t)(addr))`,
  };
  const place = base === undefined ? places.none : base === 0 ? places.zero : places.constant;
  return {
    why: "the address of a memory access is computed",
    from: "#define MEM_ADDR(mem, addr, n) &((mem)->data[addr])\n",
    to: `#define MEM_ADDR(mem, addr, n) (${place})\n`,
  };
}

/** Active data segments that are already in the image's initial memory need not be copied again at every boot. */
const LOAD_DATA: Change = {
  why: "active data segments are in the image as initial pages",
  from: `#define LOAD_DATA(m, o, i, s)            \\
  do {                                   \\
    RANGE_CHECK((&m), o, s);             \\
    load_data(MEM_ADDR(&m, o, s), i, s); \\
  } while (0)
`,
  to: `#define LOAD_DATA(m, o, i, s)            \\
  do {                                   \\
    RANGE_CHECK((&m), o, s);             \\
    load_data(MEM_ADDR(&m, o, s), i, s); \\
  } while (0)
#define LOAD_DATA_AT_START(m, o, i, s) ((void)0)
`,
};

/**
 * @param generated C source as wasm2c wrote it
 * @param memoryBase guest-virtual address of the module's one memory; undefined if it has several
 * @param dataInImage whether all active data segments were placed into the image's initial memory
 * @param payments what the module pays for its fuel, if it is metered
 */
export function adaptGeneratedCode(
  generated: string,
  memoryBase: number | undefined,
  dataInImage: boolean,
  payments: Payments | undefined,
): string {
  let text = payments ? adaptPayments(generated, payments) : generated;
  const changes = [
    memoryAddress(memoryBase),
    ...CHANGES,
    ...PRECISE,
    ...(text.includes("DEFINE_SIMD_STORE(") ? PRECISE_SIMD : []),
    ...(dataInImage ? [LOAD_DATA] : []),
  ];
  for (const change of changes) text = applyOnce(text, change);
  text = text.replace(/^ {2}\{RefFunc, (.*, offsetof\()/gm, "  {RefImport, $1");
  if (!dataInImage) return text;
  // `memory.init` uses LOAD_DATA too, inside a function that stands before this one; only the start-up copy goes away.
  const start = text.indexOf("\nstatic void init_memories(");
  if (start < 0) return text;
  const end = text.indexOf("\n}\n", start);
  return (
    text.slice(0, start) +
    text.slice(start, end).replaceAll("  LOAD_DATA(", "  LOAD_DATA_AT_START(") +
    text.slice(end)
  );
}

/** A payment is the setting of one of two globals (metering.ts) to a variable; where they get their initial values, constants stand. */
function adaptPayments(text: string, { global, unchecked, checked }: Payments): string {
  const found = { BC_PAY: 0, BC_PAY_CHECKED: 0 };
  const adapted = text.replace(
    /^( *)instance->w2c_g(\d+) = (var_j\d+);$/gm,
    (line, indent: string, index: string, cost: string) => {
      const which = Number(index) - global;
      if (which !== 0 && which !== 1) return line;
      const macro = which === 0 ? "BC_PAY" : "BC_PAY_CHECKED";
      found[macro]++;
      return `${indent}${macro}(${cost});`;
    },
  );
  if (found.BC_PAY === unchecked && found.BC_PAY_CHECKED === checked) return adapted;
  throw new BarecellError(
    "BARECELL_COMPILE_FAILED",
    `the installed version of the npm package wabt is not the one barecell knows (1.0.39): of ${unchecked + checked} payments of fuel its output has ${found.BC_PAY + found.BC_PAY_CHECKED}`,
  );
}

function applyOnce(text: string, change: Change): string {
  const at = text.indexOf(change.from);
  if (at < 0 || text.indexOf(change.from, at + 1) >= 0) {
    throw new BarecellError(
      "BARECELL_COMPILE_FAILED",
      `the installed version of the npm package wabt is not the one barecell knows (1.0.39): its output lacks the place where ${change.why}`,
    );
  }
  return text.slice(0, at) + change.to + text.slice(at + change.from.length);
}
