/** Instructions at the very end of executable memory: complete, cut off by the end, and such that run on behind it, where nothing may be executed. */
import { beforeAll, describe, expect, it } from "vitest";
import { BC_PAGE_SIZE } from "../../src/abi.ts";
import type { ErrorCode } from "../support/barecell.ts";
import { goodResult } from "../support/expected-results.ts";
import { assemble, resealed } from "../support/raw-code.ts";
import { DEFAULT_OPTIONS, rawHost } from "./hostile-case.ts";
import { type ChildResult, reportOf, runAll } from "./run-hostile.ts";

const found = rawHost.image.layout.segments.find((segment) => segment.purpose === "code");
if (!found) throw new Error("the image has no code");
const code = found;
const end = code.virtual + Math.ceil(code.memoryBytes / BC_PAGE_SIZE) * BC_PAGE_SIZE;

/** The code of an image ends somewhere in its last page, and the rest of the page is zeros; here it reaches to the page's end. */
function putAtEnd(file: Uint8Array, bytes: readonly number[]): void {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  // ELF64: e_phoff, e_phentsize, e_phnum; then p_vaddr, p_filesz and p_memsz (System V gABI, chapter 5).
  const headers = Number(view.getBigUint64(32, true));
  const [size, count] = [view.getUint16(54, true), view.getUint16(56, true)];
  for (let at = headers; at < headers + size * count; at += size) {
    if (view.getBigUint64(at + 16, true) !== BigInt(code.virtual) || view.getUint32(at, true) !== 1) continue;
    for (const field of [32, 40]) view.setBigUint64(at + field, BigInt(end - code.virtual), true);
  }
  file.set(bytes, code.fileOffset + (end - code.virtual) - bytes.length);
}

/** Bytes that end where the last executable page ends. */
const ENDS: Record<string, readonly [bytes: readonly number[], expected: ErrorCode | bigint]> = {
  "a return": [[0xc3], 5n],
  "no instruction behind": [[0x90], "BARECELL_TRAP_ACCESS_DENIED"],
  "an instruction without its operand": [[0xb8, 0x01], "BARECELL_TRAP_ACCESS_DENIED"],
  "a prefix and nothing else": [[0x66], "BARECELL_TRAP_ACCESS_DENIED"],
  ud2: [[0x0f, 0x0b], "BARECELL_TRAP_ILLEGAL_INSTRUCTION"],
  hlt: [[0xf4], "BARECELL_TRAP_PRIVILEGED_INSTRUCTION"],
  "out to a closed port": [[0xe6, 0x2e], "BARECELL_TRAP_PORT_DENIED"],
  "out by DX to a closed port": [[0xee], "BARECELL_TRAP_PORT_DENIED"],
  "rep outsb to a closed port": [[0xf3, 0x6e], "BARECELL_TRAP_PORT_DENIED"],
  rdmsr: [[0x0f, 0x32], "BARECELL_TRAP_PRIVILEGED_INSTRUCTION"],
  int3: [[0xcc], "BARECELL_TRAP_CPU_EXCEPTION"],
  "a read past linear memory": [[0x48, 0x8b, 0x03], "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY"],
  "a read of a non-canonical address": [[0x48, 0x8b, 0x01], "BARECELL_TRAP_NON_CANONICAL_ADDRESS"],
};

describe("the end of executable memory", () => {
  let results = new Map<string, ChildResult>();
  beforeAll(async () => {
    results = await runAll(
      Object.entries(ENDS).map(([name, [bytes]]) => {
        const jump = `push %rbx\n mov $5, %eax\n mov $0x100000, %ebx\n movabs $0xdeadbeefdeadbeef, %rcx\n mov $0x2e, %edx\n lea -64(%rsp), %rsi
          movabs $${end - bytes.length}, %r8\n call *%r8\n pop %rbx\n ret`;
        const image = rawHost.withCode(assemble(new Map([[name, jump]])).get(name) as Uint8Array);
        return {
          name,
          bytes: resealed(image.bytes, (file) => putAtEnd(file, bytes)),
          options: DEFAULT_OPTIONS,
          calls: [["victim"], ["good", 9]] as const,
          goodResult: goodResult(9),
        };
      }),
    );
  }, 300_000);
  it.each(Object.keys(ENDS))("%s", (name) => {
    const report = reportOf(name, results.get(name));
    expect(report.boot).toBeUndefined();
    const [first, second] = report.calls ?? [];
    expect(first?.value ?? first?.error?.code, first?.error?.message).toBe(ENDS[name]?.[1]);
    expect(second?.value).toBe(goodResult(9));
  });
});
