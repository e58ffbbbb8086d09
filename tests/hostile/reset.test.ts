/** What one tenant leaves behind, the next must not find: neither from ring 3 nor may it be anywhere in the VM. */
import { describe, expect, it } from "vitest";
import { BC_IMAGE_BASE, BC_STACK_TOP } from "../../src/abi.ts";
import { MicroVM } from "../support/barecell.ts";
import { announceSkip, hasAvx, slowness } from "../support/environment.ts";
import { assemble, hex, RawHost } from "../support/raw-code.ts";
import { differences, occurrences, WholeVm } from "../support/whole-vm.ts";

const host = await RawHost.create();
const SECRET = 0x5ec2e75ec2e75ec2n;
const SECRET_BYTES = new Uint8Array(new BigUint64Array([SECRET]).buffer);
const OPTIONS = { wasi: {}, unknownImports: "trap", timeoutMs: 5000 * slowness } as const;
const mailbox = host.image.layout.header.mailbox;
const data = host.image.layout.segments.find((segment) => segment.purpose === "data");
const stackBytes = host.image.layout.header.stackBytes;

/** Inverted, so that the code itself, which stays, does not hold it. */
const load = (register: string): string =>
  `movabs $${hex(BigInt.asUintN(64, ~SECRET))}, %${register}\n not %${register}`;
/** What the host puts there differs from run to run; so it is only whether RAX is the secret. */
const IS_SECRET = `${load("rcx")}\n cmp %rax, %rcx\n sete %al\n movzbl %al, %eax`;

/** A place where a tenant can leave something. `look` puts into RAX what is there; RDX holds the secret when it is planted. */
interface Hiding {
  readonly name: string;
  readonly plant: string;
  readonly look: string;
  /** Whether a later call of the same VM finds it: then the test is shown to be able to fail. */
  readonly stays: boolean | "somewhere";
  readonly skip?: string | false | undefined;
}

const each = (names: readonly string[], line: (name: string) => string): string => names.map(line).join("\n");
const VECTORS = Array.from({ length: 16 }, (_, i) => String(i));
/** Whether ring 3 has the instruction is found out by running it: a fault there is a fault before and after. */
const HIDINGS: readonly Hiding[] = [
  {
    name: "linear memory",
    plant: "mov %rdx, 0x8000\n mov %rdx, 0xfff8",
    look: "mov 0x8000, %rax\n or 0xfff8, %rax",
    stays: true,
  },
  {
    name: "the stack, 200 KiB below its top",
    plant: `movabs $${hex(BC_STACK_TOP - 200 * 1024)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(BC_STACK_TOP - 200 * 1024)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "the stack's last page",
    plant: `movabs $${hex(BC_STACK_TOP - stackBytes)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(BC_STACK_TOP - stackBytes)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "the red zone below the first frame",
    plant: `movabs $${hex(BC_STACK_TOP - 4096)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(BC_STACK_TOP - 4096)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "the mailbox's slots",
    plant: `movabs $${hex(mailbox + 256 + 16 * 7)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(mailbox + 256 + 16 * 7)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "the last bytes of the mailbox's page",
    plant: `movabs $${hex(mailbox + 4088)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(mailbox + 4088)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "time stamps in the mailbox's header",
    plant: `movabs $${hex(mailbox + 24)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(mailbox + 24)}, %rsi\n mov (%rsi), %rax\n ${IS_SECRET}`,
    stays: true,
  },
  {
    name: "the seed of random numbers in the mailbox",
    plant: `movabs $${hex(mailbox + 136)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex(mailbox + 136)}, %rsi\n mov (%rsi), %rax\n ${IS_SECRET}`,
    stays: true,
  },
  {
    name: "the image's own data",
    plant: `movabs $${hex((data?.virtual ?? 0) + 4088)}, %rsi\n mov %rdx, (%rsi)`,
    look: `movabs $${hex((data?.virtual ?? 0) + 4088)}, %rsi\n mov (%rsi), %rax`,
    stays: true,
  },
  {
    name: "SSE registers",
    plant: each(VECTORS, (i) => `movq %rdx, %xmm${i}\n punpcklqdq %xmm${i}, %xmm${i}`),
    look: `${each(VECTORS.slice(1), (i) => `por %xmm${i}, %xmm0`)}\n movq %xmm0, %rax\n psrldq $8, %xmm0\n movq %xmm0, %rcx\n or %rcx, %rax`,
    stays: true,
  },
  {
    name: "the upper halves of AVX registers",
    plant: each(VECTORS, (i) => `vmovq %rdx, %xmm${i}\n vinsertf128 $1, %xmm${i}, %ymm${i}, %ymm${i}`),
    look: `${each(VECTORS.slice(1), (i) => `vorps %ymm${i}, %ymm0, %ymm0`)}\n vextractf128 $1, %ymm0, %xmm0\n vmovq %xmm0, %rax`,
    stays: true,
    skip: !hasAvx && "this processor shows no AVX to ring 3",
  },
  {
    name: "x87 registers",
    plant: `push %rdx\n ${each(["0", "1", "2", "3", "4", "5", "6", "7"], () => "fildll (%rsp)")}\n pop %rcx`,
    // The mantissas are there whatever the tags say.
    look: `sub $512, %rsp\n and $-16, %rsp\n fxsave64 (%rsp)\n xor %eax, %eax\n ${each(
      ["0", "1", "2", "3", "4", "5", "6", "7"],
      (i) => `or ${32 + 16 * Number(i)}(%rsp), %rax`,
    )}`,
    stays: true,
  },
  {
    name: "MMX registers",
    plant: each(["0", "1", "2", "3", "4", "5", "6", "7"], (i) => `movq %rdx, %mm${i}`),
    look: `pxor %mm7, %mm7\n ${each(["0", "1", "2", "3", "4", "5", "6"], (i) => `por %mm${i}, %mm7`)}\n movq %mm7, %rax\n emms`,
    stays: true,
  },
  {
    name: "the address of the last x87 instruction",
    plant: "fld1\n fnop",
    look: "sub $512, %rsp\n and $-16, %rsp\n fxsave64 (%rsp)\n mov 8(%rsp), %rax\n or 16(%rsp), %rax",
    stays: false,
  },
  {
    name: "MXCSR",
    plant: "pushq $0x7fbf\n ldmxcsr (%rsp)\n pop %rcx",
    look: "push %rax\n stmxcsr (%rsp)\n pop %rax\n and $0xffff, %eax\n xor $0x1f80, %eax",
    stays: false,
  },
  {
    name: "the x87 control word",
    plant: "pushq $0x077f\n fldcw (%rsp)\n pop %rcx",
    look: "pushq $0\n fnstcw (%rsp)\n pop %rax\n xor $0x37f, %eax",
    stays: false,
  },
  {
    name: "the base of FS",
    plant: "movabs $0x5ec2e75e000, %rcx\n wrfsbase %rcx",
    look: "rdfsbase %rax",
    stays: true,
  },
  {
    name: "the base of GS",
    plant: "movabs $0x5ec2e75e000, %rcx\n wrgsbase %rcx",
    look: "rdgsbase %rax",
    stays: true,
  },
  {
    name: "segment selectors",
    plant: each(
      ["ds", "es", "fs", "gs"],
      (register) => `mov $BC_SEL_USER_DATA, %ecx\n mov %ecx, %${register}`,
    ),
    look: `xor %eax, %eax\n ${each(["ds", "es", "fs", "gs"], (register) => `mov %${register}, %ecx\n or %ecx, %eax`)}`,
    // Leaving the VM loads them anew on PVM, and keeps them elsewhere.
    stays: "somewhere",
  },
  {
    name: "flags",
    plant: "pushq $0x244ed7\n popfq",
    // ID, AC, NT, DF; the arithmetic ones change with every instruction.
    look: "pushfq\n pop %rax\n and $0x244400, %eax",
    stays: false,
  },
  {
    name: "protection keys",
    plant: "xor %ecx, %ecx\n push %rdx\n xor %edx, %edx\n mov $0x55555550, %eax\n wrpkru\n pop %rdx",
    look: "xor %ecx, %ecx\n rdpkru",
    stays: true,
  },
  {
    name: "callee-saved registers",
    plant: each(["rbx", "rbp", "r12", "r13", "r14", "r15"], (register) => `mov %rdx, %${register}`),
    look: `xor %eax, %eax\n ${load("rdx")}\n ${each(
      ["rbx", "rbp", "r12", "r13", "r14", "r15"],
      (register) => `cmp %rdx, %${register}\n sete %cl\n or %cl, %al`,
    )}`,
    stays: false,
  },
];

const END: Readonly<Record<string, string>> = {
  "a return": "mov $1, %eax\n jmp 8f",
  "a fault": "ud2",
  "a trap": "mov $BC_TRAP_UNREACHABLE, %eax\n out %al, $BC_PORT_TRAP",
  "a timeout": "jmp .",
  "an access where no port is": "in %dx, %al",
  "a step": "pushfq\n orq $0x100, (%rsp)\n popfq\n nop",
};
const ENDS = Object.keys(END);

/** `peek(0)` says what to do: 2 looks, 16 + n plants and ends in the n-th way. */
function program(hiding: Hiding): string {
  const ends = ENDS.map((_, i) => `cmp $${16 + i}, %r8d\n je 9${i}f`).join("\n");
  const endings = ENDS.map((end, i) => `9${i}: ${END[end]}`).join("\n");
  return `push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp, 0x10
    mov 0x0, %ecx\n cmp $2, %ecx\n je 2f
    ${load("rdx")}\n ${hiding.plant}\n mov 0x0, %r8d\n ${ends}\n ud2\n ${endings}
    2: ${hiding.look}
    8: cld\n mov 0x10, %rsp\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret`;
}

const hidings = HIDINGS.filter(({ name, skip }) => {
  if (skip) announceSkip(name, skip);
  return !skip;
});
const code = assemble(new Map(hidings.map((hiding) => [hiding.name, program(hiding)])));

const look = async (vm: MicroVM): Promise<unknown> => {
  await vm.call("poke", 0, 2n);
  return vm.call("victim");
};
const plant = async (vm: MicroVM, end: number): Promise<unknown> => {
  await vm.call("poke", 0, BigInt(16 + end));
  try {
    return await vm.call("victim");
  } catch (error) {
    return (error as { code?: string }).code;
  }
};
/** The instruction may not exist in ring 3, which is as good. */
const attempt = async (run: () => Promise<unknown>): Promise<unknown> => {
  try {
    return await run();
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

describe.each(hidings)("$name", (hiding) => {
  const image = host.withCode(code.get(hiding.name) as Uint8Array);
  const boot = (): Promise<MicroVM> => MicroVM.boot(image, { ...OPTIONS, timeoutMs: 100 * slowness });

  it("can be left behind, or is cleared by every call", async () => {
    await using vm = await boot();
    const clean = await attempt(() => look(vm));
    await using other = await boot();
    const planted = await plant(other, 0);
    if (planted !== 1n) return; // ring 3 has no such instruction here
    const dirty = await attempt(() => look(other));
    if (hiding.stays === true) expect(dirty).not.toEqual(clean);
    else if (hiding.stays === false) expect(dirty).toEqual(clean);
  });

  it.each(ENDS.map((end, i) => [end, i] as const))(
    "is not found after a reset that follows %s",
    async (_, end) => {
      await using fresh = await boot();
      const clean = await attempt(() => look(fresh));
      await using vm = await boot();
      for (let round = 0; round < 2; round++) {
        await plant(vm, end);
        if (round === 0) await vm.reset();
        else vm.resetSync();
        expect(vm.state).toBe("ready");
        expect(await attempt(() => look(vm))).toEqual(clean);
        vm.resetSync();
      }
    },
  );
});

/** The host writes random seed and clock anew for each life: `answers` of the mailbox. */
const maskAnswers = (gpa: number, page: Buffer): void => {
  if (gpa === mailbox - BC_IMAGE_BASE) page.fill(0, 96, 168);
};

describe.each(hidings)("seen from the host: $name", (hiding) => {
  const image = host.withCode(code.get(hiding.name) as Uint8Array);

  it.each(ENDS.map((end, i) => [end, i] as const))("nothing is left after %s and a reset", (_, end) => {
    const vm = new WholeVm(image, OPTIONS);
    try {
      vm.reset();
      const clean = vm.memory();
      vm.call("good", [9n]);
      const registers = vm.registers;
      vm.reset();
      expect(differences(clean, vm.memory(), maskAnswers)).toEqual([]);
      for (const reset of ["reset", "resetQuickly"] as const) {
        vm.call("poke", [0n, BigInt(16 + end)]);
        vm.call("victim", [], 50 * slowness);
        vm[reset]();
        const memory = vm.memory();
        expect(occurrences(memory, SECRET_BYTES)).toEqual([]);
        expect(differences(clean, memory, maskAnswers)).toEqual([]);
        vm.call("good", [9n]);
        expect(vm.registers).toEqual(registers);
        vm.reset();
      }
    } finally {
      vm.dispose();
    }
  });
});
