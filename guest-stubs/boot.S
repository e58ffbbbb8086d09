/*
 * From the reset state of a vCPU to ring 3: real mode -> protected mode -> long mode -> user mode, and the exception
 * gates. This is all the ring 0 code there is.
 *
 * Page tables, GDT, IDT and TSS are prebuilt in the image, so the stub only loads registers. It never writes to
 * memory (the CPU does, once: `ltr` sets the busy bit in the GDT), needs no stack, and stays short: under PVM each of these
 * instructions is emulated, at about 0.6 us.
 *
 * On entry the host has set CS base 0, IP = BC_BOOT_GPA, and
 *   EBP = the value for CR4    (which protections exist depends on the host's CPUID, and asking costs an exit)
 *   EDI = the value for EFER
 * Time stamps (low halves) travel in EBX, ESI, EDI, R8D, R9D, and ring 3 writes them down at native speed.
 *
 * "SDM" is Intel's Software Developer's Manual, volume 3A; "APM" is AMD's Programmer's Manual, volume 2.
 */
#include "abi.h"

/* Where the linker put `symbol`, as the physical address that is usable before paging. */
#define PHYSICAL(symbol) ((symbol) - BC_IMAGE_BASE)

/* CR0: PE (protection), MP, ET (fixed to 1), NE (x87 errors as #MF, not by an outside interrupt), WP (ring 0 obeys read-only
 * pages too). SDM 2.5. */
#define CR0_PROTECTED 0x10033
#define CR0_PAGING 0x80010033
#define MSR_EFER 0xc0000080

        .section .boot.text, "ax", @progbits
        .globl bc_boot_start
bc_boot_start:
        .code16
        /* Interrupts are off since reset (RFLAGS = 2), and stay off: the VM has no interrupt controller. */
        rdtsc
        movl    %eax, %ebx
        /* Protected mode needs a GDT first (SDM 10.9.1). Operand size 32, or only 24 bits of the base would load. */
        lgdtl   PHYSICAL(bc_gdt_pointer_low)
        movl    $CR0_PROTECTED, %eax
        movl    %eax, %cr0
        /* The far jump loads CS with a 32-bit descriptor and so ends real mode. Data segments keep the flat bases of
         * reset; nothing below uses them, and 64-bit mode ignores them. */
        ljmpl   $BC_SEL_CODE32, $PHYSICAL(bc_boot32)

        .code32
bc_boot32:
        rdtsc
        movl    %eax, %esi
        /* Long mode, in the order of SDM 10.8.5: CR4.PAE, then CR3, then EFER.LME, then CR0.PG. The boot page tables map
         * the first 2 MiB one to one (this code must survive the moment paging turns on) and the image's own address. */
        movl    %ebp, %cr4
        movl    $bc_boot_pml4_gpa, %eax
        movl    %eax, %cr3
        movl    $MSR_EFER, %ecx
        movl    %edi, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $CR0_PAGING, %eax
        movl    %eax, %cr0
        /* Compatibility mode until CS holds a descriptor with L = 1. */
        ljmpl   $BC_SEL_CODE64, $PHYSICAL(bc_boot64)

        .code64
bc_boot64:
        rdtsc
        movl    %eax, %edi
        /* To the image's own address first: the next CR3 has no identity map, since linear memory sits at address 0. */
        movabsq $bc_boot64_high, %rax
        jmpq    *%rax
bc_boot64_high:
        movl    $bc_run_pml4_gpa, %eax
        movq    %rax, %cr3
        rdtsc
        movl    %eax, %r8d
        lgdt    bc_gdt_pointer_high(%rip)
        lidt    bc_idt_pointer(%rip)
        /* The TSS brings the exception stacks and the I/O permission bitmap (SDM 8.7, SDM vol. 1, 19.5.2). */
        movl    $BC_SEL_TSS, %ecx
        ltr     %cx
        rdtsc
        movl    %eax, %r9d
        /* `iretq` is the way down to ring 3. Its frame is constant, so it is read from a read-only page. */
        leaq    bc_ring3_frame(%rip), %rsp
        iretq

/*
 * Exception gates: one instruction each. The port says the vector, the CPU's frame lies where RSP points, and the
 * host reads both from the vCPU's registers. The host never resumes behind `out`; should it, the vCPU halts.
 */
        .balign 16
bc_exception_gates:
        .set    vector, 0
        .rept   BC_IDT_VECTORS
        .balign 8
        outb    %al, $(BC_PORT_EXCEPTION_BASE + vector)
1:      hlt
        jmp     1b
        .set    vector, vector + 1
        .endr

/*
 * Where LSTAR, CSTAR and SYSENTER_EIP point. EFER.SCE is clear, so `syscall` faults; where a host sets SCE by itself this
 * code, not the tenant's bytes at address 0, is what ring 0 would run. RSP is still the tenant's: do not touch memory.
 */
        .balign 16
        .globl bc_syscall_entry
bc_syscall_entry:
        outb    %al, $BC_PORT_SYSCALL
1:      hlt
        jmp     1b

/* ---- Read-only tables ------------------------------------------------------------------------------------------ */
        .section .boot.tables, "a", @progbits
bc_image_header:
        .quad   BC_HEADER_MAGIC
        .quad   BC_ABI_VERSION
        .quad   bc_ring3_boot
        .quad   bc_ring3_call
        .quad   bc_syscall_entry
        .quad   bc_mailbox_page
        .quad   bc_mailbox_bytes
        .quad   bc_exception_stacks
        .quad   bc_boot_pml4_gpa
        .quad   bc_run_pml4_gpa
        .quad   bc_page_tables_gpa
        .quad   bc_page_tables_bytes
        .quad   bc_idt
        .quad   bc_tss_limit
        .quad   bc_stack_bytes
        .quad   0

/* One 64-bit interrupt gate (SDM 6.14.1): DPL 0, so that `int n` from ring 3 is #GP for every n. The gates lie at
 * fixed offsets in a section at a fixed address, so the split offset needs no relocation. */
        .macro  GATE vector, ist
        .set    handler, BC_BOOT_GPA + (bc_exception_gates - bc_boot_start) + 8 * \vector
        .word   handler
        .word   BC_SEL_CODE64
        .byte   \ist, 0x8e
        .word   0
        .long   BC_IMAGE_BASE >> 32
        .long   0
        .endm

/* Exceptions that can strike while another is handled, or at any instruction, have a stack to themselves. */
#define IST_COMMON 1
#define IST_DOUBLE_FAULT 2
#define IST_NMI 3
#define IST_MACHINE_CHECK 4
#define IST_DEBUG 5
#define IST_PAGE_FAULT 6
#define IST_PROTECTION 7
        .balign 16
        .globl bc_idt
bc_idt:
        .set    vector, 0
        .rept   BC_IDT_VECTORS
        .if     vector == 1
        GATE    vector, IST_DEBUG
        .elseif vector == 2
        GATE    vector, IST_NMI
        .elseif vector == 8
        GATE    vector, IST_DOUBLE_FAULT
        .elseif vector == 13
        GATE    vector, IST_PROTECTION
        .elseif vector == 14
        GATE    vector, IST_PAGE_FAULT
        .elseif vector == 18
        GATE    vector, IST_MACHINE_CHECK
        .else
        GATE    vector, IST_COMMON
        .endif
        .set    vector, vector + 1
        .endr

        .balign 8
bc_ring3_frame:
        .quad   bc_ring3_boot
        .quad   BC_SEL_USER_CODE
        .quad   0x2                     /* RFLAGS: interrupts off, IOPL 0, only the fixed bit */
        .quad   BC_STACK_TOP
        .quad   BC_SEL_USER_DATA

        .balign 8
bc_gdt_pointer_low:
        .word   BC_GDT_BYTES - 1
        .long   BC_GDT_GPA
        .balign 8
bc_gdt_pointer_high:
        .word   BC_GDT_BYTES - 1
        .quad   BC_IMAGE_BASE + BC_GDT_GPA
        .balign 8
bc_idt_pointer:
        .word   16 * BC_IDT_VECTORS - 1
        .quad   bc_idt

/* ---- GDT and TSS: writable, because `ltr` sets the busy bit ------------------------------------------------------ */
        .section .boot.gdt, "aw", @progbits
/* Accessed bits are set beforehand, so that loading a selector writes nothing (SDM 3.4.5.1). */
        .quad   0
        .quad   0x00cf9b000000ffff      /* 32-bit code, ring 0 */
        .quad   0x00af9b000000ffff      /* 64-bit code, ring 0 */
        .quad   0x00cf93000000ffff      /* data, ring 0 */
        .quad   0x00cff3000000ffff      /* data, ring 3 */
        .quad   0x00affb000000ffff      /* 64-bit code, ring 3 */
        /* 64-bit TSS descriptor, type 9 = available (SDM 8.2.3); the TSS follows the GDT at once. */
        .word   bc_tss_limit
        .word   BC_GDT_GPA + BC_GDT_BYTES
        .byte   0, 0x89, 0, 0
        .long   BC_IMAGE_BASE >> 32
        .long   0

        /* TSS (SDM 8.7): RSP0 to RSP2, IST1 to IST7, and the place of the I/O bitmap. */
        .long   0
        .quad   bc_exception_stacks + BC_IST_BYTES
        .quad   0, 0
        .quad   0
        .set    stack, 1
        .rept   BC_IST_COUNT
        .quad   bc_exception_stacks + BC_IST_BYTES * stack
        .set    stack, stack + 1
        .endr
        .quad   0
        .word   0
        .word   BC_TSS_BYTES            /* the bitmap is generated for each image and follows here */

        .section .note.GNU-stack, "", @progbits
