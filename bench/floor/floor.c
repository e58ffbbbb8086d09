/*
 * The floor: what starting a VM from an image costs when a C program makes the bare system calls and nothing else. It takes the same
 * image as the addon, maps it the same way, and goes the plain way from one system call to the next. Whatever barecell takes longer is
 * barecell's own; whatever it takes less, it has saved.
 *
 * Registers and boot modes: guest-stubs/boot.S and native/registers.cc say why each value is what it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"
#include "image.h"
#include "report.h"

enum step { MAP, CREATE_VM, SLOTS, CREATE_VCPU, CPUID, REGISTERS, BOOT, CALL, CLOSE, STEPS };
static const char *const STEP_NAMES[STEPS] = {"map memory", "create VM", "memory slots", "create vCPU", "CPUID",
                                              "registers",  "boot",      "call",         "close"};

#define CPUID_CAPACITY 256 /* KVM_MAX_CPUID_ENTRIES */
#define MAX_ARGUMENTS 64
/* Boots before the measured ones: the first ones of a process pay for page faults in this program and in the kernel's caches. */
#define WARM_UP 5

struct options {
  const char *image;
  bool staged, call, steps, json, spare;
  long runs;
  uint32_t function;
  int argument_count;
  uint64_t arguments[MAX_ARGUMENTS];
  long host_calls, resets;
};

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

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void open_host(struct host *host) {
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

static void set_boot_registers(const struct options *options, const struct host *host, const struct image *image, const struct vm *vm) {
  struct kvm_sregs sregs;
  if (ioctl(vm->vcpu, KVM_GET_SREGS, &sregs) < 0) die_errno("KVM_GET_SREGS");
  if (options->staged) {
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
  } else {
    set_ring3(host, image, &sregs);
  }
  if (ioctl(vm->vcpu, KVM_SET_SREGS, &sregs) < 0) die_errno("KVM_SET_SREGS");
  if (!options->staged) {
    set_entry(vm, image->boot_entry);
    return;
  }
  struct kvm_regs regs = {.rip = BC_BOOT_GPA, .rflags = 2, .rbp = host->cr4, .rdi = host->efer & ~(1ull << 10)};
  if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0) die_errno("KVM_SET_REGS");
}

/* Runs the guest until it writes to a port, and says which. */
static uint16_t run_to_port(const struct vm *vm) {
  while (ioctl(vm->vcpu, KVM_RUN, 0) < 0) {
    if (errno != EINTR) die_errno("KVM_RUN");
  }
  const struct kvm_run *run = vm->run;
  if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT) {
    die("the guest left with exit reason %u", run->exit_reason);
  }
  return run->io.port;
}

static void expect_port(uint16_t found, uint16_t expected) {
  if (found == expected) return;
  die("the guest wrote to port 0x%x, not to 0x%x", found, expected);
}

static bc_mailbox *mailbox(const struct image *image, const struct vm *vm) {
  return (bc_mailbox *)(void *)(vm->low + (image->mailbox_gpa - BC_PAGE_SIZE));
}

static uint64_t call(const struct options *options, const struct image *image, const struct vm *vm) {
  bc_mailbox *box = mailbox(image, vm);
  box->op = BC_OP_CALL;
  box->function = options->function;
  for (int i = 0; i < options->argument_count; i++) box->slots[i].u64 = options->arguments[i];
  set_entry(vm, image->call_entry);
  uint16_t port;
  while ((port = run_to_port(vm)) >= BC_PORT_IMPORT_BASE) box->slots[0].u64 = 0;
  expect_port(port, BC_PORT_DONE);
  return box->slots[0].u64;
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

/* Microseconds for one host call: the mean of all, since reading the clock for each would be part of what is measured. */
static double host_calls(long count, const struct image *image, const struct vm *vm) {
  struct kvm_regs regs = {.rip = image->call_entry, .rsp = BC_STACK_TOP, .rflags = 2,
                          .rcx = (uint64_t)count, .rdx = BC_PORT_IMPORT_BASE};
  if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0) die_errno("KVM_SET_REGS");
  double start = now_us();
  for (long i = 0; i < count; i++) expect_port(run_to_port(vm), BC_PORT_IMPORT_BASE);
  expect_port(run_to_port(vm), BC_PORT_DONE);
  return (now_us() - start) / (double)count;
}

static size_t memory_bytes(const struct image *image) { return image->low_end - BC_PAGE_SIZE; }

static uint8_t *copy_of_memory(const struct image *image, const struct vm *vm) {
  uint8_t *copy = malloc(memory_bytes(image));
  if (copy == NULL) die_errno("no memory");
  return memcpy(copy, vm->low, memory_bytes(image));
}

/*
 * The same VM again, as if new: copies back the pages that a call is known to write, sets registers, runs. Which pages these are, a comparison with
 * `ready`, the memory before the first call, has said once; nothing is searched for. Microseconds of reset and call together.
 */
static void reset_calls(const struct options *options, const struct image *image, const struct vm *vm, const uint8_t *ready, double *took) {
  size_t count = 0;
  size_t *dirty = malloc(memory_bytes(image) / BC_PAGE_SIZE * sizeof *dirty);
  if (dirty == NULL) die_errno("no memory");
  for (size_t page = 0; page < memory_bytes(image); page += BC_PAGE_SIZE) {
    if (memcmp(ready + page, vm->low + page, BC_PAGE_SIZE) != 0) dirty[count++] = page;
  }
  for (long i = -WARM_UP; i < options->resets; i++) {
    double start = now_us();
    for (size_t k = 0; k < count; k++) memcpy(vm->low + dirty[k], ready + dirty[k], BC_PAGE_SIZE);
    call(options, image, vm);
    if (i >= 0) took[i] = now_us() - start;
  }
  free(dirty);
}

/*
 * A VM with a vCPU that lives as long as the program. The kernel patches its own code when the first VM, or the first vCPU without an
 * interrupt controller, of the whole system comes, and when the last one goes (static keys); beside this one none is the first or last.
 */
static void make_spare(const struct host *host) {
  int vm = ioctl(host->kvm, KVM_CREATE_VM, 0);
  if (vm < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0) die_errno("cannot create a spare VM");
}

/* One VM from nothing to nothing; `took` gets the microseconds of each step. Returns the call's first result slot. */
static uint64_t one_run(const struct options *options, const struct host *host, const struct image *image, double took[STEPS],
                        double *host_call, double *reset_call) {
  double before = now_us();
#define STEP_DONE(step) \
  do { \
    double now = now_us(); \
    took[step] = now - before; \
    before = now; \
  } while (0)
  struct vm vm;
  vm.low = map_region(image, BC_PAGE_SIZE, image->low_end);
  vm.high = map_region(image, BC_HIGH_GPA_BASE, image->high_end);
  STEP_DONE(MAP);
  vm.fd = ioctl(host->kvm, KVM_CREATE_VM, 0);
  if (vm.fd < 0) die_errno("KVM_CREATE_VM");
  STEP_DONE(CREATE_VM);
  add_slot(vm.fd, 0, BC_PAGE_SIZE, image->low_end, vm.low);
  add_slot(vm.fd, 1, BC_HIGH_GPA_BASE, image->high_end, vm.high);
  STEP_DONE(SLOTS);
  vm.vcpu = ioctl(vm.fd, KVM_CREATE_VCPU, 0);
  if (vm.vcpu < 0) die_errno("KVM_CREATE_VCPU");
  vm.run = mmap(NULL, host->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu, 0);
  if (vm.run == MAP_FAILED) die_errno("cannot map kvm_run");
  STEP_DONE(CREATE_VCPU);
  if (ioctl(vm.vcpu, KVM_SET_CPUID2, host->cpuid) < 0) die_errno("KVM_SET_CPUID2");
  STEP_DONE(CPUID);
  set_boot_registers(options, host, image, &vm);
  STEP_DONE(REGISTERS);
  expect_port(run_to_port(&vm), BC_PORT_READY);
  STEP_DONE(BOOT);
  uint8_t *ready = options->resets > 0 ? copy_of_memory(image, &vm) : NULL;
  uint64_t result = options->call ? call(options, image, &vm) : 0;
  STEP_DONE(CALL);
  if (options->host_calls > 0) {
    plant_host_call_loop(image, &vm);
    /* Once without the clock: the first exits of a page pay for its first touch. */
    host_calls(10, image, &vm);
    *host_call = host_calls(options->host_calls, image, &vm);
    before = now_us();
  }
  if (options->resets > 0) {
    reset_calls(options, image, &vm, ready, reset_call);
    free(ready);
    before = now_us();
  }
  munmap(vm.run, host->run_bytes);
  close(vm.vcpu);
  close(vm.fd);
  munmap(vm.low, image->low_end - BC_PAGE_SIZE);
  if (vm.high != NULL) munmap(vm.high, image->high_end - BC_HIGH_GPA_BASE);
  STEP_DONE(CLOSE);
  return result;
}

__attribute__((noreturn)) static void usage(void) {
  fputs("usage: floor IMAGE [--boot staged|direct] [--runs N] [--call FUNCTION_INDEX [SLOT…]] [--host-call N] [--reset N] [--spare] [--steps] [--json]\n"
        "  --call       after the boot, calls that function of the image with 64-bit slots\n"
        "  --host-call  after the boot, measures the round trip of N exits from ring 3\n"
        "  --reset      after the call, measures N times to copy back what it wrote and to make it again; with --call and --runs 1\n"
        "  --spare      beside another VM, which lives all the time\n"
        "  --steps      every step apart\n",
        stderr);
  exit(2);
}

static uint64_t number(const char *text) {
  char *end;
  errno = 0;
  uint64_t value = strtoull(text == NULL ? "" : text, &end, 0);
  if (errno != 0 || text == NULL || end == text || *end != '\0') usage();
  return value;
}

static struct options parse(char **arguments) {
  struct options options = {.staged = true, .runs = 100};
  for (char **at = arguments; *at != NULL; at++) {
    if (strcmp(*at, "--boot") == 0) {
      at++;
      if (*at == NULL || (strcmp(*at, "staged") != 0 && strcmp(*at, "direct") != 0)) usage();
      options.staged = strcmp(*at, "staged") == 0;
    } else if (strcmp(*at, "--runs") == 0) {
      options.runs = (long)number(*++at);
    } else if (strcmp(*at, "--host-call") == 0) {
      options.host_calls = (long)number(*++at);
    } else if (strcmp(*at, "--reset") == 0) {
      options.resets = (long)number(*++at);
    } else if (strcmp(*at, "--call") == 0) {
      options.call = true;
      options.function = (uint32_t)number(*++at);
      while (at[1] != NULL && strncmp(at[1], "--", 2) != 0 && options.argument_count < MAX_ARGUMENTS) {
        options.arguments[options.argument_count++] = number(*++at);
      }
    } else if (strcmp(*at, "--spare") == 0) {
      options.spare = true;
    } else if (strcmp(*at, "--steps") == 0) {
      options.steps = true;
    } else if (strcmp(*at, "--json") == 0) {
      options.json = true;
    } else if (options.image == NULL && **at != '-') {
      options.image = *at;
    } else {
      usage();
    }
  }
  if (options.image == NULL || options.runs < 1 || options.runs > 1000000 || options.host_calls < 0) usage();
  if (options.resets < 0 || options.resets > 1000000 || (options.resets > 0 && (!options.call || options.runs != 1))) usage();
  return options;
}

static void report(const struct options *options, struct series *results, int result_count, struct series *steps, uint64_t slot) {
  if (options->resets > 0) {
    if (options->json) {
      printf("{\"boot\": \"%s\", \"unit\": \"us\", \"runs\": %ld, \"warmUp\": %d, \"slot\": \"%llu\", \"samples\": {", options->staged ? "staged" : "direct",
             options->resets, WARM_UP, (unsigned long long)slot);
      print_json_series(results, result_count, options->resets);
      printf("}}\n");
    } else {
      print_table(results, result_count, options->resets);
    }
    return;
  }
  if (!options->json) {
    printf("%s boot%s, %ld runs after %d to warm up\n", options->staged ? "staged" : "direct", options->call ? " and one call" : "",
           options->runs, WARM_UP);
    print_table(results, result_count, options->runs);
    if (options->steps) print_table(steps, STEPS, options->runs);
    if (options->call) printf("first result slot: %llu\n", (unsigned long long)slot);
    return;
  }
  /* Slots as strings: JSON's readers take numbers for doubles. */
  printf("{\"boot\": \"%s\", \"unit\": \"us\", \"runs\": %ld, \"warmUp\": %d, \"slot\": \"%llu\", \"samples\": {",
         options->staged ? "staged" : "direct", options->runs, WARM_UP, (unsigned long long)slot);
  print_json_series(results, result_count, options->runs);
  printf("}");
  if (options->steps) {
    printf(", \"steps\": {");
    print_json_series(steps, STEPS, options->runs);
    printf("}");
  }
  printf("}\n");
}

int main(int argc, char **argv) {
  (void)argc;
  struct options options = parse(argv + 1);
  struct host host;
  struct image image;
  open_host(&host);
  image_open(&image, options.image);
  if (options.spare) make_spare(&host);
  if (BC_MAILBOX_HEADER_BYTES + (uint64_t)options.argument_count * BC_SLOT_BYTES > image.mailbox_bytes) die("too many arguments");
  size_t bytes = (size_t)options.runs * sizeof(double);
  struct series results[] = {{"boot to result", malloc(bytes)}, {"close", malloc(bytes)}, {"host call", malloc(bytes)}};
  struct series steps[STEPS];
  for (int i = 0; i < STEPS; i++) {
    steps[i] = (struct series){STEP_NAMES[i], malloc(bytes)};
    if (steps[i].samples == NULL) die_errno("no memory");
  }
  if (results[0].samples == NULL || results[1].samples == NULL || results[2].samples == NULL) die_errno("no memory");
  double *reset_call = malloc((size_t)(options.resets + 1) * sizeof(double));
  if (reset_call == NULL) die_errno("no memory");
  uint64_t slot = 0;
  for (long i = -WARM_UP; i < options.runs; i++) {
    double took[STEPS], host_call = 0;
    slot = one_run(&options, &host, &image, took, &host_call, reset_call);
    if (i < 0 || options.resets > 0) continue;
    results[0].samples[i] = 0;
    for (int step = 0; step < CLOSE; step++) results[0].samples[i] += took[step];
    results[1].samples[i] = took[CLOSE];
    results[2].samples[i] = host_call;
    for (int step = 0; step < STEPS; step++) steps[step].samples[i] = took[step];
  }
  struct series reset_series = {"reset and call", reset_call};
  if (options.resets > 0) {
    report(&options, &reset_series, 1, steps, slot);
  } else {
    report(&options, results, options.host_calls > 0 ? 3 : 2, steps, slot);
  }
  return 0;
}
