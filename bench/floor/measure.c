#define _GNU_SOURCE
#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

const char *const STEP_NAMES[STEPS] = {"map memory", "create VM", "memory slots", "create vCPU", "CPUID",
                                       "registers",  "boot",      "call",         "close"};

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void make(struct vm *vm, const struct start *start) { vm_make(vm, start->host, start->image, start->staged); }

uint64_t measure_boot(const struct start *start, double took[STEPS]) {
  const struct host *host = start->host;
  const struct image *image = start->image;
  double before = now_us();
#define STEP_DONE(step) \
  do { \
    double now = now_us(); \
    took[step] = now - before; \
    before = now; \
  } while (0)
  struct vm vm;
  vm_map(&vm, image);
  STEP_DONE(MAP);
  vm_create(&vm, host);
  STEP_DONE(CREATE_VM);
  vm_add_slots(&vm, image);
  STEP_DONE(SLOTS);
  vm_create_vcpu(&vm, host);
  STEP_DONE(CREATE_VCPU);
  vm_set_cpuid(&vm, host);
  STEP_DONE(CPUID);
  vm_set_boot_registers(&vm, host, image, start->staged);
  STEP_DONE(REGISTERS);
  vm_boot(&vm);
  STEP_DONE(BOOT);
  uint64_t result = start->call != NULL ? vm_call(&vm, image, start->call) : 0;
  STEP_DONE(CALL);
  vm_close(&vm, host, image);
  STEP_DONE(CLOSE);
  return result;
}

/*
 * A loop of host calls and nothing else, in place of the image's own call entry: with N in RCX,
 * 1: out %al, (%dx); dec %rcx; jnz 1b; out %al, $BC_PORT_DONE. The host sets RCX and RDX as it enters.
 */
static void plant_host_call_loop(const struct image *image, const struct vm *vm) {
  static const uint8_t LOOP[] = {0xee, 0x48, 0xff, 0xc9, 0x75, 0xfa, 0xe6, BC_PORT_DONE};
  memcpy(vm->low + (image->call_entry - BC_IMAGE_BASE - BC_PAGE_SIZE), LOOP, sizeof LOOP);
  uint8_t *bitmap = vm->low + (BC_GDT_GPA + BC_GDT_BYTES + BC_TSS_BYTES - BC_PAGE_SIZE);
  if (BC_PORT_IMPORT_BASE / 8 + 1 >= image->tss_limit + 1 - BC_TSS_BYTES) die("the image's I/O bitmap has no import port");
  bitmap[BC_PORT_IMPORT_BASE / 8] &= 0xfe;
}

/* The mean of all, since reading the clock for each would be part of what is measured. */
static double host_calls(long count, const struct image *image, const struct vm *vm) {
  struct kvm_regs regs = {.rip = image->call_entry, .rsp = BC_STACK_TOP, .rflags = 2,
                          .rcx = (uint64_t)count, .rdx = BC_PORT_IMPORT_BASE};
  if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0) die_errno("KVM_SET_REGS");
  double start = now_us();
  for (long i = 0; i < count; i++) vm_expect_port(vm, BC_PORT_IMPORT_BASE);
  vm_expect_port(vm, BC_PORT_DONE);
  return (now_us() - start) / (double)count;
}

double measure_host_calls(const struct start *start, long count) {
  struct vm vm;
  make(&vm, start);
  plant_host_call_loop(start->image, &vm);
  /* Once without the clock: the first exits of a page pay for its first touch. */
  host_calls(10, start->image, &vm);
  double took = host_calls(count, start->image, &vm);
  vm_close(&vm, start->host, start->image);
  return took;
}

static size_t memory_bytes(const struct image *image) { return image->low_end - BC_PAGE_SIZE; }

static void *allocate(size_t bytes) {
  void *memory = malloc(bytes);
  if (memory == NULL) die_errno("no memory");
  return memory;
}

/* Offsets of the pages that a call is known to write: a comparison with `ready`, the memory before the first call, says it once. */
static size_t find_written(const struct image *image, const struct vm *vm, const uint8_t *ready, size_t *pages) {
  size_t count = 0;
  for (size_t page = 0; page < memory_bytes(image); page += BC_PAGE_SIZE) {
    if (memcmp(ready + page, vm->low + page, BC_PAGE_SIZE) != 0) pages[count++] = page;
  }
  return count;
}

/* The same VM again, as if new: copies back what a call wrote, sets registers, runs. Nothing is searched for. */
uint64_t measure_warm(const struct start *start, long count, const struct warm_samples *took) {
  const struct image *image = start->image;
  struct vm vm;
  make(&vm, start);
  uint8_t *ready = memcpy(allocate(memory_bytes(image)), vm.low, memory_bytes(image));
  uint64_t result = vm_call(&vm, image, start->call);
  size_t *written = allocate(memory_bytes(image) / BC_PAGE_SIZE * sizeof *written);
  size_t pages = find_written(image, &vm, ready, written);
  for (long i = -WARM_UP; i < count; i++) {
    double before = now_us();
    for (size_t k = 0; k < pages; k++) memcpy(vm.low + written[k], ready + written[k], BC_PAGE_SIZE);
    double reset = now_us();
    vm_call(&vm, image, start->call);
    double done = now_us();
    if (i < 0) continue;
    took->reset_and_call[i] = done - before;
    took->call_after_reset[i] = done - reset;
  }
  for (long i = 0; i < count; i++) {
    double before = now_us();
    vm_call(&vm, image, start->call);
    took->call_again[i] = now_us() - before;
  }
  free(written);
  free(ready);
  vm_close(&vm, start->host, image);
  return result;
}

/* Nothing is kept of a VM but what the kernel has: it ends with the program. */
void make_live(const struct start *start, long count) {
  for (long i = 0; i < count; i++) {
    struct vm vm;
    make(&vm, start);
    if (start->call != NULL) vm_call(&vm, start->image, start->call);
  }
}

void hold_live(const struct start *start) {
  char line[32];
  long total = 0;
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *end;
    errno = 0;
    long more = strtol(line, &end, 10);
    if (errno != 0 || end == line || *end != '\n' || more < 0 || more > 100000) die("a line must say how many VMs to make");
    make_live(start, more);
    total += more;
    printf("%ld\n", total);
    fflush(stdout);
  }
}
