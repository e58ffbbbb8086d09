/* Registers and boot modes: guest-stubs/boot.S and native/registers.cc say why each value is what it is. */
#define _GNU_SOURCE
#include "vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUID_CAPACITY 256 /* KVM_MAX_CPUID_ENTRIES */

void host_open(struct host *host) {
  host->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (host->kvm < 0) die_errno("cannot open /dev/kvm");
  int run_bytes = ioctl(host->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < 0) die_errno("KVM_GET_VCPU_MMAP_SIZE");
  host->run_bytes = (size_t)run_bytes;
  host->cpuid = calloc(1, sizeof *host->cpuid + CPUID_CAPACITY * sizeof host->cpuid->entries[0]);
  if (host->cpuid == NULL) die_errno("no memory");
  host->cpuid->nent = CPUID_CAPACITY;
  if (ioctl(host->kvm, KVM_GET_SUPPORTED_CPUID, host->cpuid) < 0) die_errno("KVM_GET_SUPPORTED_CPUID");
  host->cr4 = 1u << 5 | 1u << 9 | 1u << 10; /* PAE, OSFXSR, OSXMMEXCPT */
  for (uint32_t i = 0; i < host->cpuid->nent; i++) {
    const struct kvm_cpuid_entry2 *entry = &host->cpuid->entries[i];
    if (entry->index != 0) continue;
    if (entry->function == 1 && entry->ecx & 1u << 26) host->cr4 |= 1u << 18;  /* OSXSAVE */
    if (entry->function == 7 && entry->ebx & 1u << 7) host->cr4 |= 1u << 20;   /* SMEP */
    if (entry->function == 7 && entry->ebx & 1u << 20) host->cr4 |= 1u << 21;  /* SMAP */
    if (entry->function == 7 && entry->ecx & 1u << 2) host->cr4 |= 1u << 11;   /* UMIP */
  }
  host->efer = 1u << 8 | 1u << 10 | 1u << 11; /* LME, LMA, NXE */
}

/* Zeros for everything, then the parts that come from the file on top. */
static uint8_t *map_region(const struct image *image, uint64_t from, uint64_t end) {
  if (end <= from) return NULL;
  uint8_t *base = mmap(NULL, end - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) die_errno("cannot map guest memory");
  for (int i = 0; i < image->run_count; i++) {
    const struct image_run *run = &image->runs[i];
    if (run->gpa < from || run->gpa >= end) continue;
    if (mmap(base + (run->gpa - from), run->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image->memfd,
             (off_t)run->gpa) == MAP_FAILED) {
      die_errno("cannot map the image");
    }
  }
  return base;
}

static void add_slot(int vm, uint32_t slot, uint64_t gpa, uint64_t end, const uint8_t *base) {
  if (base == NULL) return;
  struct kvm_userspace_memory_region region = {
      .slot = slot, .guest_phys_addr = gpa, .memory_size = end - gpa, .userspace_addr = (uintptr_t)base};
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) die_errno("KVM_SET_USER_MEMORY_REGION");
}

void vm_map(struct vm *vm, const struct image *image) {
  vm->low = map_region(image, BC_PAGE_SIZE, image->low_end);
  vm->high = map_region(image, BC_HIGH_GPA_BASE, image->high_end);
}

void vm_create(struct vm *vm, const struct host *host) {
  vm->fd = ioctl(host->kvm, KVM_CREATE_VM, 0);
  if (vm->fd < 0) die_errno("KVM_CREATE_VM");
}

void vm_add_slots(const struct vm *vm, const struct image *image) {
  add_slot(vm->fd, 0, BC_PAGE_SIZE, image->low_end, vm->low);
  add_slot(vm->fd, 1, BC_HIGH_GPA_BASE, image->high_end, vm->high);
}

void vm_create_vcpu(struct vm *vm, const struct host *host) {
  vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
  if (vm->vcpu < 0) die_errno("KVM_CREATE_VCPU");
  vm->run = mmap(NULL, host->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
  if (vm->run == MAP_FAILED) die_errno("cannot map kvm_run");
}

void vm_set_cpuid(const struct vm *vm, const struct host *host) {
  if (ioctl(vm->vcpu, KVM_SET_CPUID2, host->cpuid) < 0) die_errno("KVM_SET_CPUID2");
}

static struct kvm_segment user_segment(uint16_t selector, bool code) {
  return (struct kvm_segment){.limit = 0xffffffff, .selector = selector, .type = code ? 0xb : 0x3, .present = 1, .dpl = 3,
                              .s = 1, .g = 1, .l = code, .db = !code};
}

static void set_ring3(const struct host *host, const struct image *image, struct kvm_sregs *sregs) {
  sregs->cs = user_segment(BC_SEL_USER_CODE, true);
  sregs->ss = user_segment(BC_SEL_USER_DATA, false);
  sregs->ds = sregs->es = sregs->fs = sregs->gs = (struct kvm_segment){.unusable = 1};
  sregs->tr = (struct kvm_segment){.base = BC_IMAGE_BASE + BC_GDT_GPA + BC_GDT_BYTES, .limit = (uint32_t)image->tss_limit,
                                   .selector = BC_SEL_TSS, .type = 0xb, .present = 1};
  sregs->gdt = (struct kvm_dtable){.base = BC_IMAGE_BASE + BC_GDT_GPA, .limit = BC_GDT_BYTES - 1};
  sregs->idt = (struct kvm_dtable){.base = image->idt, .limit = 16 * BC_IDT_VECTORS - 1};
  sregs->cr0 = 0x80010033;
  sregs->cr3 = image->run_pml4_gpa;
  sregs->cr4 = host->cr4;
  sregs->efer = host->efer;
}

static void set_entry(const struct vm *vm, uint64_t rip) {
  struct kvm_regs regs = {.rip = rip, .rsp = BC_STACK_TOP, .rflags = 2};
  if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0) die_errno("KVM_SET_REGS");
}

void vm_set_boot_registers(const struct vm *vm, const struct host *host, const struct image *image, bool staged) {
  struct kvm_sregs sregs;
  if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs) < 0) die_errno("KVM_GET_SREGS");
  if (staged) {
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
  } else {
    set_ring3(host, image, &sregs);
  }
  if (ioctl(vm->vcpu, KVM_SET_SREGS, &sregs) < 0) die_errno("KVM_SET_SREGS");
  if (!staged) {
    set_entry(vm, image->boot_entry);
    return;
  }
  struct kvm_regs regs = {.rip = BC_BOOT_GPA, .rflags = 2, .rbp = host->cr4, .rdi = host->efer & ~(1ull << 10)};
  if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0) die_errno("KVM_SET_REGS");
}

uint16_t vm_run_to_port(const struct vm *vm) {
  while (ioctl(vm->vcpu, KVM_RUN, 0) < 0) {
    if (errno != EINTR) die_errno("KVM_RUN");
  }
  const struct kvm_run *run = vm->run;
  if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT) {
    die("the guest left with exit reason %u", run->exit_reason);
  }
  return run->io.port;
}

void vm_expect_port(const struct vm *vm, uint16_t port) {
  uint16_t found = vm_run_to_port(vm);
  if (found != port) die("the guest wrote to port 0x%x, not to 0x%x", found, port);
}

void vm_boot(const struct vm *vm) { vm_expect_port(vm, BC_PORT_READY); }

void vm_make(struct vm *vm, const struct host *host, const struct image *image, bool staged) {
  vm_map(vm, image);
  vm_create(vm, host);
  vm_add_slots(vm, image);
  vm_create_vcpu(vm, host);
  vm_set_cpuid(vm, host);
  vm_set_boot_registers(vm, host, image, staged);
  vm_boot(vm);
}

static bc_mailbox *mailbox(const struct image *image, const struct vm *vm) {
  return (bc_mailbox *)(void *)(vm->low + (image->mailbox_gpa - BC_PAGE_SIZE));
}

uint64_t vm_call(const struct vm *vm, const struct image *image, const struct call *call) {
  bc_mailbox *box = mailbox(image, vm);
  box->op = BC_OP_CALL;
  box->function = call->function;
  for (int i = 0; i < call->argument_count; i++) box->slots[i].u64 = call->arguments[i];
  set_entry(vm, image->call_entry);
  uint16_t port;
  while ((port = vm_run_to_port(vm)) >= BC_PORT_IMPORT_BASE) box->slots[0].u64 = 0;
  if (port != BC_PORT_DONE) die("the call ended with port 0x%x", port);
  return box->slots[0].u64;
}

void vm_close(const struct vm *vm, const struct host *host, const struct image *image) {
  munmap(vm->run, host->run_bytes);
  close(vm->vcpu);
  close(vm->fd);
  munmap(vm->low, image->low_end - BC_PAGE_SIZE);
  if (vm->high != NULL) munmap(vm->high, image->high_end - BC_HIGH_GPA_BASE);
}

void host_make_spare(const struct host *host) {
  int vm = ioctl(host->kvm, KVM_CREATE_VM, 0);
  if (vm < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0) die_errno("cannot create a spare VM");
}
