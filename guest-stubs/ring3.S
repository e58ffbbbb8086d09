/*
 * The first instructions of ring 3. They are the end of the boot (and note its time stamps) or the start of a call.
 * The host sets RIP and RSP anew for every entry, so nothing the tenant left in registers matters.
 */
#include "abi.h"

        .section .text.bc_ring3, "ax", @progbits

/* From `iretq` of the boot stub, or straight from the host (`boot: "direct"`, with all registers zero). */
        .globl  bc_ring3_boot
        .type   bc_ring3_boot, @function
bc_ring3_boot:
        .cfi_startproc
        .cfi_undefined rip              /* the outermost frame: a backtrace ends here */
        rdtsc
        leaq    bc_mailbox_page(%rip), %rcx
        movl    %ebx, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_REAL_MODE(%rcx)
        movl    %esi, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_PROTECTED_MODE(%rcx)
        movl    %edi, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_LONG_MODE(%rcx)
        movl    %r8d, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_PAGE_TABLES(%rcx)
        movl    %r9d, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_DESCRIPTOR_TABLES(%rcx)
        movl    %eax, BC_MAILBOX_BOOT_TSC + 8 * BC_STAGE_RING3(%rcx)
        fninit
        ldmxcsr bc_mxcsr_default(%rip)
        movq    bc_mailbox_page + BC_MAILBOX_FUEL(%rip), %r15
        call    bc_guest_init
        ud2
        .cfi_endproc
        .size   bc_ring3_boot, . - bc_ring3_boot

        .globl  bc_ring3_call
        .type   bc_ring3_call, @function
bc_ring3_call:
        .cfi_startproc
        .cfi_undefined rip
        /* The first call after a reset: the state components go back to what they are after power-on (Intel SDM vol. 1, 13.6: a clear bit in
         * XSTATE_BV means initial state). The tenant cannot come by this entry: only the host sets RIP to it, and EAX with it. */
        testl   $BC_ENTRY_CLEAR_FX, %eax
        jz      1f
        fxrstor64 bc_initial_state(%rip)
        testl   $BC_ENTRY_CLEAR_EXTENDED, %eax
        jz      1f
        movl    $-1, %eax
        movl    $-1, %edx
        xrstor64 bc_initial_state(%rip)
1:      /* Rounding mode, exception masks and the x87 stack outlive a call, a trap too; no call may find what another left there. */
        fninit
        ldmxcsr bc_mxcsr_default(%rip)
        /* Only images with metering keep it there. */
        movq    bc_mailbox_page + BC_MAILBOX_FUEL(%rip), %r15
        call    bc_guest_call
        ud2
        .cfi_endproc
        .size   bc_ring3_call, . - bc_ring3_call

        /* Round to nearest, every exception masked, subnormals kept (Intel SDM vol. 1, 10.2.3): WebAssembly's arithmetic. */
        .section .rodata.bc_mxcsr, "a", @progbits
        .balign 4
bc_mxcsr_default:
        .long   0x1f80

        /* The XSAVE area (SDM vol. 1, 13.4): FCW and MXCSR have values, the header's XSTATE_BV and XCOMP_BV are zero like all else. */
        .section .rodata.bc_initial_state, "a", @progbits
        .balign 64
bc_initial_state:
        .word   0x37f
        .zero   22
        .long   0x1f80
        .zero   576 - 28

        .section .note.GNU-stack, "", @progbits
