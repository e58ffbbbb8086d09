/**
 * Places short loops in a module's assembler text, where the C compiler knows neither their lengths nor where they will lie.
 *
 * Processors fetch instructions by lines of 64 bytes. A loop that fits into a line is to lie in one. One that is a little longer than a line and begins one
 * leaves two or three instructions for the last line, and takes twice as long on Zen 5 (ARCHITECTURE.md, "where it lies"): it begins in the middle of a line
 * instead. The assembler finds out the lengths.
 */

/** Lines of a loop that may have 65 to 139 bytes: an instruction has 3 to 6 on average. The others stay where they are. */
const MIN_LINES = 11;
const MAX_LINES = 48;

const LABEL = /^(\.L\d+):$/;
const JUMP = /^\tj[a-z]+\t(\.L\d+)$/;
/** Where the C compiler aligned to 32 bytes (`-falign-loops=32`); others, it knows, are rarely run. */
const ALIGNED = /^\t\.p2align 5(,|$)/;
const ALIGNMENT = "\t.p2align ";
/** What ends a function or leaves its place: a jump across it is no loop's. */
const BOUNDARY = /^\t\.(p2align|section|text|size|cfi_startproc|cfi_endproc|globl|type)\b/;

/** @param assembly what gcc wrote; that of another compiler has no such labels, and stays as it is */
export function placeLoops(assembly: string): string {
  const lines = assembly.split("\n");
  const heads = new Map<string, number>();
  const ends = new Map<string, number>();
  lines.forEach((line, at) => {
    const label = LABEL.exec(line)?.[1];
    if (label !== undefined) heads.set(label, at);
    const target = JUMP.exec(line)?.[1];
    // Backward: the label was met. The last one wins.
    if (target !== undefined && heads.has(target)) ends.set(target, at);
  });
  let count = 0;
  for (const [label, end] of ends) {
    const head = heads.get(label) ?? 0;
    const first = firstAlignment(lines, head);
    if (first === undefined || !isShortAndInnermost(lines, head, end)) continue;
    const after = `.Lbc_loop_end_${count++}`;
    lines[first] = `${ALIGNMENT}6\n${shift(`(${after}-${label})`)}`;
    for (let at = first + 1; at < head; at++) lines[at] = "";
    lines[end] += `\n${after}:`;
  }
  return count === 0 ? assembly : lines.join("\n");
}

/** The first of the alignments right before a label, if that is the one for loops. */
function firstAlignment(lines: readonly string[], head: number): number | undefined {
  let first = head;
  while (first > 0 && lines[first - 1]?.startsWith(ALIGNMENT)) first--;
  return first < head && ALIGNED.test(lines[first] ?? "") ? first : undefined;
}

/** An inner loop would have its own alignment, whose size depends on this one's. */
function isShortAndInnermost(lines: readonly string[], head: number, end: number): boolean {
  if (end - head < MIN_LINES || end - head > MAX_LINES) return false;
  return !lines.slice(head + 1, end).some((line) => BOUNDARY.test(line));
}

/** Comparisons are -1 where they hold. `.nops` fills with as few instructions as there can be. */
function shift(length: string): string {
  const rest = `(${length}&63)`;
  return `\t.nops -((${length}>64)&(${length}<140)&(${rest}>0)&(${rest}<12))*32`;
}
