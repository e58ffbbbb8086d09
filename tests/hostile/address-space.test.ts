/**
 * The whole address space, page by page where anything is mapped: who may read, write and execute what, as the image's layout says it, against what the
 * processor does. Writes put back what is there (`lock or` of nothing), so that an allowed one changes nothing; an allowed jump goes to a `ret`.
 */
import {
  BC_IMAGE_BASE,
  BC_LARGE_PAGE_SIZE,
  BC_LINEAR_REACH_END,
  BC_MEMORY_BASE,
  BC_PAGE_SIZE,
  BC_STACK_HOLE_BASE,
  BC_STACK_TOP,
} from "../../src/abi.ts";
import type { ErrorCode } from "../support/barecell.ts";
import { isSvm } from "../support/environment.ts";
import { rawHost } from "./hostile-case.ts";
import { type SweepInput, sweepSuite } from "./run-sweep.ts";

const { header, segments } = rawHost.image.layout;
const { bytes } = rawHost.image;
const [READ, WRITE, EXECUTE] = [0, 1, 2];
const RET = 0xc3;

const code = `mov 0, %rax
  mov 8, %ecx
  cmp $1, %ecx
  jb 1f
  je 2f
  call *%rax
  jmp 3f
1: movb (%rax), %cl
  jmp 3f
2: lock orb $0, (%rax)
3: mov $1, %eax
  ret`;

const NON_CANONICAL: ErrorCode = "BARECELL_TRAP_NON_CANONICAL_ADDRESS";
/** QEMU's emulation knows no non-canonical addresses: there it is a page fault. */
const nonCanonical: readonly ErrorCode[] = isSvm
  ? [NON_CANONICAL, "BARECELL_TRAP_ACCESS_DENIED"]
  : [NON_CANONICAL];

type Rights = Readonly<Record<"read" | "write" | "execute", ErrorCode | undefined>>;
const refused = (code: ErrorCode, execute: ErrorCode = "BARECELL_TRAP_ACCESS_DENIED"): Rights => ({
  read: code,
  write: code,
  execute,
});
const DENIED = refused("BARECELL_TRAP_ACCESS_DENIED");

/** What ring 3 may do with an address that no segment has. */
function unmapped(at: bigint): Rights {
  if (at >= 0x8000_0000_0000n && at < 0xffff_8000_0000_0000n)
    return refused("BARECELL_TRAP_NON_CANONICAL_ADDRESS", "BARECELL_TRAP_NON_CANONICAL_ADDRESS");
  if (at < BC_LINEAR_REACH_END) return refused("BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY");
  if (at >= BC_STACK_HOLE_BASE && at < BC_STACK_TOP) return refused("BARECELL_TRAP_STACK_EXHAUSTED");
  return DENIED;
}

/** A place in the page that holds a `ret`, and the page's rights by its segment. */
function mapped(page: number): { rights: Rights; ret: number | undefined } | undefined {
  const segment = segments.find((one) => page >= one.virtual && page < one.virtual + one.memoryBytes);
  if (!segment) return undefined;
  const allow = (allowed: boolean): ErrorCode | undefined =>
    segment.user && allowed ? undefined : "BARECELL_TRAP_ACCESS_DENIED";
  const rights = {
    // Whatever ring 3 has, it can read.
    read: allow(segment.read || segment.execute),
    write: allow(segment.write),
    execute: allow(segment.execute),
  };
  const offset = page - segment.virtual;
  const content = bytes.subarray(
    segment.fileOffset + offset,
    segment.fileOffset + Math.min(offset + BC_PAGE_SIZE, segment.fileBytes),
  );
  // Not in what the sweep's own code replaces.
  const isKept = (at: number): boolean => at < rawHost.address || at >= rawHost.address + rawHost.capacity;
  const ret = content.findIndex((byte, i) => byte === RET && isKept(page + i));
  return { rights, ret: ret < 0 ? undefined : page + ret };
}

function inputsAt(page: bigint): SweepInput[] {
  const found = page < 2n ** 53n ? mapped(Number(page)) : undefined;
  const rights = found?.rights ?? unmapped(page);
  const describe = (how: string): string => `${how} 0x${page.toString(16)}`;
  const input = (
    how: string,
    at: bigint,
    kind: number | undefined,
    code: ErrorCode | undefined,
  ): SweepInput => ({
    name: describe(how),
    words: [BigInt.asUintN(64, at), BigInt(kind ?? 0)],
    expected: code === NON_CANONICAL ? nonCanonical : [code ?? 1n],
  });
  const inputs = [input("read", page, READ, rights.read), input("write", page, WRITE, rights.write)];
  // The last byte of a page too: that nothing straddles.
  inputs.push(input("read the end of", page + BigInt(BC_PAGE_SIZE - 1), READ, rights.read));
  // What the syscall stub's address means is in cases/places.ts.
  if (rights.execute !== undefined) inputs.push(input("execute", page, EXECUTE, rights.execute));
  else if (found?.ret !== undefined) inputs.push(input("execute", BigInt(found.ret), EXECUTE, undefined));
  return inputs;
}

const pages = new Set<bigint>();
const addRange = (from: number, until: number, step = BC_PAGE_SIZE): void => {
  for (let at = from; at < until; at += step) pages.add(BigInt(at));
};
// All that the image has, with the pages around; the stack, with the end of its hole; linear memory, and past its end.
for (const { virtual, memoryBytes } of segments) {
  addRange(Math.max(0, virtual - 2 * BC_PAGE_SIZE), virtual + memoryBytes + 2 * BC_PAGE_SIZE);
}
// Guest-physical memory through the image's window, linear memory's included: only the image's own part is mapped there.
const physicalEnd = Math.max(...segments.map((one) => one.physical + one.memoryBytes));
addRange(BC_IMAGE_BASE, BC_IMAGE_BASE + Math.min(physicalEnd, 64 * BC_LARGE_PAGE_SIZE));
const everyPage = [...pages];
pages.clear();
// What each entry of the upper tables leads to: 512 GiB, 1 GiB and 2 MiB apart.
for (let i = 0n; i < 512n; i++) {
  const top = i << 39n;
  pages.add(i < 256n ? top : top | 0xffff_0000_0000_0000n);
  pages.add(i << 30n);
}
for (const base of [
  0,
  BC_LINEAR_REACH_END - 2 ** 30,
  BC_STACK_HOLE_BASE,
  BC_STACK_TOP - 2 ** 29,
  BC_IMAGE_BASE,
  BC_MEMORY_BASE,
]) {
  addRange(base, base + 512 * BC_LARGE_PAGE_SIZE, (isSvm ? 16 : 1) * BC_LARGE_PAGE_SIZE);
}
// Non-canonical ones, and both ends of what is canonical.
for (const at of [
  0x7fff_ffff_f000n,
  0x8000_0000_0000n,
  0x1234_5678_9abc_d000n,
  0xffff_7fff_ffff_f000n,
  0xffff_8000_0000_0000n,
  0xffff_ffff_ffff_f000n,
]) {
  pages.add(at);
}

sweepSuite("address space", [
  { name: "every page of every mapping", host: rawHost, code, inputs: everyPage.flatMap(inputsAt) },
  { name: "every entry of the upper tables", host: rawHost, code, inputs: [...pages].flatMap(inputsAt) },
  {
    name: "every byte of the boot stub and of the exception gates as a target of a jump",
    host: rawHost,
    code: "mov 0, %rax\n jmp *%rax",
    inputs: Array.from({ length: isSvm ? 512 : BC_PAGE_SIZE }, (_, i) => {
      const at = BC_IMAGE_BASE + BC_PAGE_SIZE + i;
      return {
        name: `jump to 0x${at.toString(16)}`,
        words: [BigInt(at)],
        expected: [
          at === header.syscallEntry ? "BARECELL_TRAP_PRIVILEGED_INSTRUCTION" : "BARECELL_TRAP_ACCESS_DENIED",
        ],
      } satisfies SweepInput;
    }),
  },
]);
