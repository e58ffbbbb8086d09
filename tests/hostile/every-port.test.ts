/**
 * All 65,536 ports: each by a plain one-byte `out`, which is the check of its one bit; and every fourth once more by one of the 17 other ways to use a port,
 * taken in turn, so that every way meets every part of the bitmap. BARECELL_HOSTILE_ALL=1 takes every way for every port (three minutes).
 */
import { BC_PORT_IMPORT_BASE } from "../../src/abi.ts";
import { announceSkip, isSvm } from "../support/environment.ts";
import { rawHost } from "./hostile-case.ts";
import { type Sweep, type SweepInput, sweepSuite } from "./run-sweep.ts";

const WIDTHS = { b: ["%al", 1], w: ["%ax", 2], l: ["%eax", 4] } as const;
interface Way {
  readonly name: string;
  readonly code: string;
  readonly bytes: number;
}
const ways: Way[] = Object.entries(WIDTHS).flatMap(([width, [register, bytes]]) => [
  { name: `out${width}`, code: `xor %eax, %eax\n out ${register}, %dx`, bytes },
  { name: `in${width}`, code: `in %dx, ${register}`, bytes },
  { name: `outs${width}`, code: `outs${width}`, bytes },
  { name: `ins${width}`, code: `ins${width}`, bytes },
  { name: `rep outs${width}`, code: `rep outs${width}`, bytes },
  { name: `rep ins${width}`, code: `rep ins${width}`, bytes },
]);

/** Ports that mean something, and are opened, or named, by cases/ports.ts: 0x11 to 0x14 and the granted import's. */
const isOpen = (port: number): boolean => (port >= 0x11 && port <= 0x14) || port === BC_PORT_IMPORT_BASE;
const CLOSED_IMPORT = BC_PORT_IMPORT_BASE + 1;

function input(port: number, way: number): SweepInput {
  return {
    name: `${ways[way]?.name} of port 0x${port.toString(16)}`,
    words: [BigInt(port), BigInt(way)],
    expected: [port === CLOSED_IMPORT ? "BARECELL_TRAP_IMPORT_DENIED" : "BARECELL_TRAP_PORT_DENIED"],
  };
}

// An access of several bytes needs the bits of them all, so it is refused by its neighbours where it begins at an open port; the name is the first's.
const usable = (port: number, way: number): boolean =>
  !isOpen(port) || (port === 0x14 && (ways[way]?.bytes ?? 1) > 1);

const code = `mov 0, %edx
  mov 8, %eax
  lea -256(%rsp), %rdi
  mov %rdi, %rsi
  mov $3, %ecx
  cld
  shl $4, %eax
  lea 1f(%rip), %r8
  add %r8, %rax
  jmp *%rax
  .balign 16
1:
  ${ways.map(({ code }) => `.balign 16\n ${code}\n jmp 2f`).join("\n")}
2: mov $1, %eax
  ret`;

const ALL = Array.from({ length: 65_536 }, (_, port) => port);
// A tenth of the speed: there every 16th port, which still is one of every other byte of the bitmap, and all up to the last import's neighbours.
const ports = isSvm
  ? ALL.filter((port) => port % 16 === port % 7 || port < 0x40 || (port > 0x3f0 && port < 0x420))
  : ALL;
if (isSvm) announceSkip("most of the 65,536 ports", "the emulated machine takes 1 ms for each");

const inputs = process.env["BARECELL_HOSTILE_ALL"]
  ? ports.flatMap((port) => ways.map((_, way) => [port, way] as const))
  : ports.flatMap((port) => [
      [port, 0] as const,
      ...(port % 4 === 0 ? [[port, 1 + (((port >> 2) * 5 + (port >> 8)) % (ways.length - 1))] as const] : []),
    ]);

const sweeps: Sweep[] = [
  {
    name: "every port that is closed is refused",
    host: rawHost,
    code,
    inputs: inputs.filter(([port, way]) => usable(port, way)).map(([port, way]) => input(port, way)),
  },
];
sweepSuite("every port", sweeps);
