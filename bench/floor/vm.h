/* A VM made by the bare system calls, step by step: whoever measures reads the clock between the steps. Any failure ends the program. */
#ifndef BARECELL_FLOOR_VM_H
#define BARECELL_FLOOR_VM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "image.h"

#define MAX_ARGUMENTS 64

/* What does not change from VM to VM. */
struct host {
  int kvm;
  size_t run_bytes;
  uint64_t cr4, efer;
  struct kvm_cpuid2 *cpuid;
};

struct vm {
  int fd, vcpu;
  uint8_t *low, *high; /* guest-physical BC_PAGE_SIZE, and BC_HIGH_GPA_BASE */
  struct kvm_run *run;
};

/* A function of the image, with 64-bit slots as arguments. */
struct call {
  uint32_t function;
  int argument_count;
  uint64_t arguments[MAX_ARGUMENTS];
};

void host_open(struct host *host);

/*
 * A VM with a vCPU that lives as long as the program. The kernel patches its own code when the first VM, or the first vCPU without an
 * interrupt controller, of the whole system comes, and when the last one goes (static keys); beside this one none is the first or last.
 */
void host_make_spare(const struct host *host);

/* The steps, in this order. */
void vm_map(struct vm *vm, const struct image *image);
void vm_create(struct vm *vm, const struct host *host);
void vm_add_slots(const struct vm *vm, const struct image *image);
void vm_create_vcpu(struct vm *vm, const struct host *host);
void vm_set_cpuid(const struct vm *vm, const struct host *host);
void vm_set_boot_registers(const struct vm *vm, const struct host *host, const struct image *image, bool staged);
/* Until the guest says that it is ready. */
void vm_boot(const struct vm *vm);

/* All of them. */
void vm_make(struct vm *vm, const struct host *host, const struct image *image, bool staged);

/* Returns the first result slot. Imports are answered with zeros. */
uint64_t vm_call(const struct vm *vm, const struct image *image, const struct call *call);

void vm_close(const struct vm *vm, const struct host *host, const struct image *image);

/* Runs the guest until it writes to a port, which must be that one, or says which. */
void vm_expect_port(const struct vm *vm, uint16_t port);
uint16_t vm_run_to_port(const struct vm *vm);

#endif
