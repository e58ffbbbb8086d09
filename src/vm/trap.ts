/** From how a run of the vCPU ended to the error that says so. */
import {
  BC_IMAGE_BASE,
  BC_PORT_IMPORT_BASE,
  BC_STACK_HOLE_BASE,
  BC_STACK_TOP,
  BC_TRAP_BAD_REFERENCE,
  BC_TRAP_BAD_REQUEST,
  BC_TRAP_FUEL_EXHAUSTED,
  BC_TRAP_INDIRECT_CALL_TYPE_MISMATCH,
  BC_TRAP_INTEGER_DIVIDE_BY_ZERO,
  BC_TRAP_INTEGER_OVERFLOW,
  BC_TRAP_INVALID_CONVERSION,
  BC_TRAP_OUT_OF_BOUNDS_MEMORY,
  BC_TRAP_OUT_OF_BOUNDS_TABLE,
  BC_TRAP_STACK_EXHAUSTED,
  BC_TRAP_UNINITIALIZED_ELEMENT,
  BC_TRAP_UNLINKABLE,
  BC_TRAP_UNREACHABLE,
} from "../abi.ts";
import type { ErrorCode } from "../errors.ts";
import type { Image } from "../image/image.ts";
import { linearIndexAt, linearVirtual } from "../image/layout.ts";
import type { NativeOutcome, NativeVm } from "./addon.ts";
import { decodeFaulting } from "./instruction.ts";

export interface TrapDescription {
  readonly code: ErrorCode;
  readonly message: string;
}

const REPORTED: Readonly<Record<number, TrapDescription>> = {
  [BC_TRAP_UNREACHABLE]: { code: "BARECELL_TRAP_UNREACHABLE", message: "unreachable executed" },
  [BC_TRAP_INTEGER_DIVIDE_BY_ZERO]: {
    code: "BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO",
    message: "integer divide by zero",
  },
  [BC_TRAP_INTEGER_OVERFLOW]: { code: "BARECELL_TRAP_INTEGER_OVERFLOW", message: "integer overflow" },
  [BC_TRAP_INVALID_CONVERSION]: {
    code: "BARECELL_TRAP_INVALID_CONVERSION",
    message: "invalid conversion to integer",
  },
  [BC_TRAP_OUT_OF_BOUNDS_MEMORY]: {
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY",
    message: "out of bounds memory access by a bulk operation or a data segment",
  },
  [BC_TRAP_OUT_OF_BOUNDS_TABLE]: {
    code: "BARECELL_TRAP_OUT_OF_BOUNDS_TABLE",
    message: "out of bounds table access",
  },
  [BC_TRAP_INDIRECT_CALL_TYPE_MISMATCH]: {
    code: "BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH",
    message: "indirect call type mismatch",
  },
  [BC_TRAP_UNINITIALIZED_ELEMENT]: {
    code: "BARECELL_TRAP_UNINITIALIZED_ELEMENT",
    message: "indirect call to an uninitialized table element",
  },
  [BC_TRAP_STACK_EXHAUSTED]: { code: "BARECELL_TRAP_STACK_EXHAUSTED", message: "call stack exhausted" },
  [BC_TRAP_UNLINKABLE]: {
    code: "BARECELL_LINK_FAILED",
    message: "an imported memory or table is smaller now than the module asks for",
  },
  [BC_TRAP_BAD_REFERENCE]: {
    code: "BARECELL_ARGUMENT_INVALID",
    message: "a funcref was passed that no call of this VM returned",
  },
  [BC_TRAP_FUEL_EXHAUSTED]: { code: "BARECELL_FUEL_EXHAUSTED", message: "the guest used up its fuel" },
  [BC_TRAP_BAD_REQUEST]: {
    code: "BARECELL_GUEST_PROTOCOL",
    message: "the guest's runtime says that it does not know what the host asked for",
  },
};

/**
 * A trap that the guest's runtime reported by its number.
 * @param instantiates whether modules were being instantiated: only then can one of them be unlinkable, and a guest that says so otherwise lies
 * @param isMetered whether the image counts fuel, and can use it up
 */
export function describeReportedTrap(
  number: number,
  instantiates: boolean,
  isMetered: boolean,
): TrapDescription {
  const isLie =
    (number === BC_TRAP_UNLINKABLE && !instantiates) || (number === BC_TRAP_FUEL_EXHAUSTED && !isMetered);
  const known = isLie ? undefined : REPORTED[number];
  return (
    known ?? {
      code: "BARECELL_GUEST_PROTOCOL",
      message: `the guest reported a trap of the number ${number}, which means nothing here`,
    }
  );
}

/** Exception vectors by name: Intel SDM vol. 3A, table 6-1. */
const VECTOR_NAMES: Readonly<Record<number, string>> = {
  0: "#DE divide error",
  1: "#DB debug exception",
  2: "NMI",
  3: "#BP breakpoint",
  4: "#OF overflow",
  5: "#BR bound range exceeded",
  6: "#UD invalid opcode",
  7: "#NM device not available",
  8: "#DF double fault",
  10: "#TS invalid TSS",
  11: "#NP segment not present",
  12: "#SS stack-segment fault",
  13: "#GP general protection",
  14: "#PF page fault",
  16: "#MF x87 floating-point error",
  17: "#AC alignment check",
  18: "#MC machine check",
  19: "#XM SIMD floating-point exception",
  20: "#VE virtualization exception",
  21: "#CP control protection exception",
};
const VECTOR_INVALID_OPCODE = 6;
const VECTOR_STACK_FAULT = 12;
const VECTOR_GENERAL_PROTECTION = 13;
const VECTOR_PAGE_FAULT = 14;
/** Page-fault error code bits: SDM vol. 3A, 4.7. */
const FAULT_PRESENT = 1n;
const FAULT_WRITE = 2n;
const FAULT_FETCH = 16n;

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** An exception that the CPU raised in the guest. */
export function describeException(outcome: NativeOutcome, image: Image, vm: NativeVm): TrapDescription {
  const name = VECTOR_NAMES[outcome.vector] ?? `exception ${outcome.vector}`;
  if (!outcome.inRing3) {
    return {
      code: "BARECELL_GUEST_PROTOCOL",
      message: `${name} in ring 0 at ${hex(outcome.rip)}: the image's boot stub is not what barecell made`,
    };
  }
  switch (outcome.vector) {
    case VECTOR_PAGE_FAULT:
      return describePageFault(outcome, image);
    case VECTOR_GENERAL_PROTECTION:
    case VECTOR_STACK_FAULT:
      return describeProtectionFault(outcome, image, vm, name);
    case VECTOR_INVALID_OPCODE:
      return { code: "BARECELL_TRAP_ILLEGAL_INSTRUCTION", message: `${name} at ${hex(outcome.rip)}` };
    default:
      return { code: "BARECELL_TRAP_CPU_EXCEPTION", message: `${name} at ${hex(outcome.rip)}` };
  }
}

function describePageFault(outcome: NativeOutcome, image: Image): TrapDescription {
  const address = outcome.faultAddress;
  if ((outcome.errorCode & FAULT_FETCH) !== 0n && address === BigInt(image.layout.header.syscallEntry)) {
    // PVM goes to LSTAR without leaving ring 3, which may not execute there.
    return {
      code: "BARECELL_TRAP_PRIVILEGED_INSTRUCTION",
      message: "the guest executed 'syscall', or jumped to where it leads",
    };
  }
  const access =
    (outcome.errorCode & FAULT_FETCH) !== 0n
      ? "execute"
      : (outcome.errorCode & FAULT_WRITE) !== 0n
        ? "write"
        : "read";
  const present = (outcome.errorCode & FAULT_PRESENT) !== 0n;
  const memory = linearIndexAt(Number(address));
  if (memory !== undefined && memory < linearMemories(image) && !present && access !== "execute") {
    const place = address - BigInt(linearVirtual(memory));
    const which = memory === 0 ? "" : ` of memory ${memory}`;
    return {
      code: "BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY",
      message: `out of bounds memory access (${access} at address ${place}${which})`,
    };
  }
  if (
    address >= BigInt(BC_STACK_HOLE_BASE) &&
    address < BigInt(BC_STACK_TOP) &&
    !present &&
    access !== "execute"
  ) {
    return { code: "BARECELL_TRAP_STACK_EXHAUSTED", message: "call stack exhausted" };
  }
  return {
    code: "BARECELL_TRAP_ACCESS_DENIED",
    message: `the guest may not ${access} ${present ? "the page at" : "address"} ${hex(address)}`,
  };
}

/** Memory 0 counts even where there is none: its addresses mean nothing else. */
const linearMemories = (image: Image): number => Math.max(1, image.manifest.memories.length);

/** #GP has one vector for many causes; the instruction tells them apart. */
function describeProtectionFault(
  outcome: NativeOutcome,
  image: Image,
  vm: NativeVm,
  name: string,
): TrapDescription {
  const bytes = outcome.rip >= BigInt(BC_IMAGE_BASE) ? readInstruction(vm, outcome.rip) : new Uint8Array(0);
  const instruction = decodeFaulting(bytes, outcome.registers);
  if (instruction.kind === "port") {
    const entry = image.imports[instruction.port - BC_PORT_IMPORT_BASE];
    if (entry && instruction.port >= BC_PORT_IMPORT_BASE) {
      return {
        code: "BARECELL_TRAP_IMPORT_DENIED",
        message: `the guest called the import '${entry.module}.${entry.name}', which is not granted`,
      };
    }
    return {
      code: "BARECELL_TRAP_PORT_DENIED",
      message: `the guest used port ${hex(BigInt(instruction.port))}, which is closed`,
    };
  }
  if (instruction.kind === "privileged") {
    return {
      code: "BARECELL_TRAP_PRIVILEGED_INSTRUCTION",
      message: `the guest executed the privileged instruction '${instruction.name}' at ${hex(outcome.rip)}`,
    };
  }
  if (outcome.errorCode === 0n && instruction.kind === "other") {
    return {
      code: "BARECELL_TRAP_NON_CANONICAL_ADDRESS",
      message: `the guest used a non-canonical address at ${hex(outcome.rip)}`,
    };
  }
  return { code: "BARECELL_TRAP_CPU_EXCEPTION", message: `${name} at ${hex(outcome.rip)}` };
}

/** The longest instruction has 15 bytes (SDM vol. 2A, 2.3.11); near the end of the code there may be fewer. */
function readInstruction(vm: NativeVm, rip: bigint): Uint8Array {
  for (let length = 15; length > 0; length--) {
    const bytes = vm.readImage(rip, length);
    if (bytes.length > 0) return bytes;
  }
  return new Uint8Array(0);
}
