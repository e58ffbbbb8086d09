/**
 * Looks at the instruction that raised #GP: an access to a port, a privileged instruction, `int n`, or something else (then an address was at
 * fault). Only a name for people comes of it; nothing is emulated. Opcodes: Intel SDM vol. 2D, appendix A.
 */

export type FaultingInstruction =
  | { readonly kind: "port"; readonly port: number }
  | { readonly kind: "privileged"; readonly name: string }
  | { readonly kind: "interrupt" }
  | { readonly kind: "other" }
  | { readonly kind: "unknown" };

/** Place of RDX among registers in DWARF order. */
const RDX = 1;

const PRIVILEGED: Readonly<Record<number, string>> = { 244: "hlt", 250: "cli", 251: "sti", 207: "iret" };
const PRIVILEGED_0F: Readonly<Record<number, string>> = {
  6: "clts",
  8: "invd",
  9: "wbinvd",
  32: "mov from control register",
  33: "mov from debug register",
  34: "mov to control register",
  35: "mov to debug register",
  48: "wrmsr",
  49: "rdtsc",
  50: "rdmsr",
  51: "rdpmc",
  52: "sysenter",
  53: "sysexit",
  7: "sysret",
  162: "cpuid",
  170: "rsm",
};
/** Groups 6 and 7 by the middle bits of the byte that follows. */
const GROUP_0F00: readonly string[] = ["sldt", "str", "lldt", "ltr", "verr", "verw", "", ""];
const GROUP_0F01: readonly string[] = ["sgdt", "sidt", "lgdt", "lidt", "smsw", "", "lmsw", "invlpg"];
const GROUP_0F01_REGISTER: Readonly<Record<number, string>> = {
  193: "vmcall",
  194: "vmlaunch",
  195: "vmresume",
  196: "vmxoff",
  200: "monitor",
  201: "mwait",
  202: "clac",
  203: "stac",
  209: "xsetbv",
  216: "vmrun",
  217: "vmmcall",
  218: "vmload",
  219: "vmsave",
  220: "stgi",
  221: "clgi",
  222: "skinit",
  223: "invlpga",
  248: "swapgs",
};

/** @param registers in DWARF order */
export function decodeFaulting(bytes: Uint8Array, registers: readonly bigint[]): FaultingInstruction {
  let at = 0;
  while (isPrefix(bytes[at])) at++;
  const opcode = bytes[at];
  const next = bytes[at + 1];
  if (opcode === undefined) return { kind: "unknown" };
  if (opcode >= 0xe4 && opcode <= 0xe7) return { kind: "port", port: next ?? 0 };
  if ((opcode >= 0xec && opcode <= 0xef) || (opcode >= 0x6c && opcode <= 0x6f)) {
    return { kind: "port", port: Number((registers[RDX] ?? 0n) & 0xffffn) };
  }
  if (opcode === 0xcd || opcode === 0xcc || opcode === 0xf1) return { kind: "interrupt" };
  const plain = PRIVILEGED[opcode];
  if (plain !== undefined) return { kind: "privileged", name: plain };
  if (opcode !== 0x0f || next === undefined) return { kind: "other" };
  const name = privileged0f(next, bytes[at + 2]);
  return name ? { kind: "privileged", name } : { kind: "other" };
}

/** Legacy and REX prefixes (SDM vol. 2A, 2.1.1 and 2.2.1). */
function isPrefix(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  if (byte >= 0x40 && byte <= 0x4f) return true;
  return [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte);
}

function privileged0f(second: number, third: number | undefined): string | undefined {
  if (third !== undefined && second === 0x00) return GROUP_0F00[(third >> 3) & 7];
  if (third !== undefined && second === 0x01) {
    return third >= 0xc0
      ? (GROUP_0F01_REGISTER[third] ?? GROUP_0F01[(third >> 3) & 7])
      : GROUP_0F01[(third >> 3) & 7];
  }
  return PRIVILEGED_0F[second];
}
