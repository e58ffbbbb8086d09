/**
 * Divides a large module's C among files, each for a C compiler of its own: for the sake of time, and of the memory that one takes.
 *
 * wasm2c divides by a hash of the names, into parts of uneven sizes in which functions that call each other are apart. Here they stay in the module's order, in which
 * linkers leave functions of one source file together, and no part takes much longer than another.
 */
import type { CodeLevel } from "./options.ts";

/** From this size of a module on. */
const DIVIDE_FROM_BYTES = 96 * 1024;
/** Where the code is to be as fast as can be, the C compiler sees all of it, up to this size. */
const DIVIDE_FASTEST_FROM_BYTES = 4 * 2 ** 20;

/** By size alone, so that the image does not depend on the machine. */
export function isDivided(moduleBytes: number, level: CodeLevel): boolean {
  return moduleBytes >= (level === 3 ? DIVIDE_FASTEST_FROM_BYTES : DIVIDE_FROM_BYTES);
}

/**
 * A part should have so much C: an eighth of the module's, so that the last ones end together on as many processors, within bounds. Each part costs a process and the
 * header once more, which is as much as 15,000 characters.
 */
const PARTS = 8;
const LEAST_PART_CHARACTERS = 160_000;
const MOST_PART_CHARACTERS = 480_000;

/** From so much C on, of a module of some 4 MiB, level 2 is 1 for all of it: 10 MB of module took 12 processor minutes at 2, and take 5 at 1. */
const PLAIN_FROM_CHARACTERS = 40e6;
/** Some 30 instructions. Shorter ones may be inlined where they are called, by a C compiler that sees both. */
const LONG_FUNCTION_CHARACTERS = 1000;

/** A file of C, or a header of its own that others include. */
export interface SourceFile {
  readonly name: string;
  readonly text: string;
  /** Of the C compiler. */
  readonly level: CodeLevel;
}

/**
 * @param name of the module
 * @param files wasm2c's of a divided module, adapted: the header that the others include, then those; or the only file of a module that is not divided
 */
export function divide(
  name: string,
  [first = "", ...rest]: readonly string[],
  level: CodeLevel,
): SourceFile[] {
  if (rest.length === 0) return [{ name: `${name}.c`, text: first, level }];
  const header = `${name}-impl.h`;
  const include = `#include "${header}"\n`;
  const { shared, declarations } = withoutDeclarations(first);
  const { functions, others } = takeApart(rest);
  const total = functions.reduce((sum, { text }) => sum + text.length, 0);
  const highest: CodeLevel = level === 2 && total >= PLAIN_FROM_CHARACTERS ? 1 : level;
  const isSimple = ({ text }: DefinedFunction): boolean =>
    highest === 2 && text.length > LONG_FUNCTION_CHARACTERS && !hasLoop(text);
  const partCharacters = Math.min(Math.max(total / PARTS, LEAST_PART_CHARACTERS), MOST_PART_CHARACTERS);
  const part = (text: string, i: number, prefix: string, own: CodeLevel): SourceFile => ({
    name: `${name}_${prefix}${i}.c`,
    text: include + declarationsFor(text, declarations) + text,
    level: own,
  });
  const simple = groups(functions.filter(isSimple), partCharacters);
  const fast = groups(
    functions.filter((entry) => !isSimple(entry)),
    partCharacters,
  );
  // Each of wasm2c's files has its own line for the header. These are wrappers of one call each, and what runs when a module is instantiated.
  const once = others.replaceAll(include, "");
  return [
    { name: header, text: shared, level },
    // What runs once for each call of it gains next to nothing from a higher level, and that is a third of what compilers make of Rust.
    ...[once + (simple[0] ?? ""), ...simple.slice(1)].map((text, i) =>
      part(text, i, "", highest === 2 ? 1 : highest),
    ),
    ...fast.map((text, i) => part(text, i, "f", highest)),
  ];
}

/**
 * The functions' declarations are what makes the header of a very large module long (2 MB for 10 MB of module); each part gets those it needs.
 * @returns the header without them, and them by the functions' names
 */
function withoutDeclarations(header: string): { shared: string; declarations: ReadonlyMap<string, string> } {
  const declarations = new Map<string, string>();
  const shared = header.replace(
    /^\w[^\n;{}()]* (w2c_\w*f\d+)\(w2c_\w+\*[^\n;{}()]*\);\n/gm,
    (line, name: string) => {
      declarations.set(name, line);
      return "";
    },
  );
  return { shared, declarations };
}

function declarationsFor(text: string, declarations: ReadonlyMap<string, string>): string {
  const used = new Set(text.match(/\bw2c_\w*f\d+\b/g));
  return [...used].map((name) => declarations.get(name) ?? "").join("");
}

interface DefinedFunction {
  /** Of WebAssembly's function. */
  readonly index: number;
  readonly text: string;
}

/** How a function's definition begins: it is known in all files, and gets the module's instance. Its name ends in its index (canonical-module.ts). */
const DEFINITION = /^(?!static\b)\w[^\n;{}()]* \w*f(\d+)\(w2c_\w+\* instance\b[^;{}]*\{\n/m;
const END = "\n}\n";

/** @returns the functions in the module's order, and all else as one text */
function takeApart(files: readonly string[]): { functions: DefinedFunction[]; others: string } {
  const functions: DefinedFunction[] = [];
  let others = "";
  for (const file of files) {
    let from = 0;
    for (let end = file.indexOf(END); end >= 0; end = file.indexOf(END, from)) {
      const text = file.slice(from, end + END.length);
      from = end + END.length;
      const definition = DEFINITION.exec(text);
      if (definition) {
        functions.push({ index: Number(definition[1]), text: text.slice(definition.index) });
        others += text.slice(0, definition.index);
      } else {
        others += text;
      }
    }
    others += file.slice(from);
  }
  return { functions: functions.sort((a, b) => a.index - b.index), others };
}

/** wasm2c's label of a loop; all other jumps lead forward. */
const hasLoop = (text: string): boolean => /^ {2}var_L\d+:/m.test(text);

/** Neighbours together, as texts of about equal length. */
function groups(functions: readonly DefinedFunction[], partCharacters: number): string[] {
  const total = functions.reduce((sum, { text }) => sum + text.length, 0);
  const count = total === 0 ? 0 : Math.max(Math.round(total / partCharacters), 1);
  const lists: string[][] = Array.from({ length: count }, () => []);
  let before = 0;
  for (const { text } of functions) {
    // By its middle, so that no part is longer than the average by more than a function.
    const middle = before + text.length / 2;
    lists[Math.min(Math.floor((middle / total) * count), count - 1)]?.push(text);
    before += text.length;
  }
  return lists.filter((list) => list.length > 0).map((list) => list.join("\n"));
}
