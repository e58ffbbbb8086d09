/* Reads an image. It trusts the file no further than to stay within its own memory: it is a tool for measuring, not a loader. */
#define _GNU_SOURCE
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi.h"

static void complain(const char *format, va_list arguments) {
  fputs("floor: ", stderr);
  vfprintf(stderr, format, arguments);
}

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain(format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

void die_errno(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  complain(format, arguments);
  va_end(arguments);
  fprintf(stderr, ": %s\n", strerror(error));
  exit(1);
}

static uint64_t round_up(uint64_t value) { return (value + BC_PAGE_SIZE - 1) / BC_PAGE_SIZE * BC_PAGE_SIZE; }

static uint64_t field(const uint8_t *header, size_t offset) {
  uint64_t value;
  memcpy(&value, header + offset, sizeof value);
  return value;
}

/* Neighbours become one mapping, as in the addon (native/guest_memory.cc). Segments come in any order, but the linker sorts them. */
static void add_run(struct image *image, uint64_t gpa, uint64_t bytes) {
  struct image_run *last = image->run_count > 0 ? &image->runs[image->run_count - 1] : NULL;
  if (last != NULL && last->gpa + last->bytes == gpa) {
    last->bytes += bytes;
    return;
  }
  if (image->run_count == IMAGE_MAX_RUNS) die("the image has too many separate segments");
  image->runs[image->run_count++] = (struct image_run){gpa, bytes};
}

static void add_segment(struct image *image, const uint8_t *file, uint64_t file_bytes, const Elf64_Phdr *segment) {
  if (segment->p_offset > file_bytes || segment->p_filesz > file_bytes - segment->p_offset || segment->p_paddr % BC_PAGE_SIZE != 0) {
    die("a segment of the image lies outside the file, or is not page-aligned");
  }
  uint64_t end = segment->p_paddr + round_up(segment->p_memsz);
  uint64_t *region = segment->p_paddr < BC_HIGH_GPA_BASE ? &image->low_end : &image->high_end;
  if (end > *region) *region = end;
  if (segment->p_filesz == 0) return;
  const uint8_t *from = file + segment->p_offset;
  for (uint64_t done = 0; done < segment->p_filesz;) {
    ssize_t written = pwrite(image->memfd, from + done, segment->p_filesz - done, (off_t)(segment->p_paddr + done));
    if (written <= 0) die_errno("cannot hold the image in memory");
    done += (uint64_t)written;
  }
  add_run(image, segment->p_paddr, round_up(segment->p_filesz));
}

static void read_header(struct image *image) {
  uint8_t header[BC_HEADER_BYTES];
  if (pread(image->memfd, header, sizeof header, BC_TABLES_GPA) != (ssize_t)sizeof header || field(header, 0) != BC_HEADER_MAGIC) {
    die("the file is not an image of barecell's");
  }
  if (field(header, BC_HEADER_ABI_VERSION) != BC_ABI_VERSION) die("the image is of another ABI version; compile the module again");
  image->boot_entry = field(header, BC_HEADER_BOOT_ENTRY);
  image->call_entry = field(header, BC_HEADER_CALL_ENTRY);
  image->mailbox_gpa = field(header, BC_HEADER_MAILBOX) - BC_IMAGE_BASE;
  image->mailbox_bytes = field(header, BC_HEADER_MAILBOX_BYTES);
  image->run_pml4_gpa = field(header, BC_HEADER_RUN_PML4_GPA);
  image->idt = field(header, BC_HEADER_IDT);
  image->tss_limit = field(header, BC_HEADER_TSS_LIMIT);
  if (image->mailbox_gpa > image->low_end || image->mailbox_bytes > image->low_end - image->mailbox_gpa ||
      image->mailbox_bytes < BC_MAILBOX_HEADER_BYTES || image->tss_limit < BC_TSS_BYTES || image->tss_limit > BC_PAGE_SIZE) {
    die("the image's header page is damaged");
  }
}

void image_open(struct image *image, const char *path) {
  *image = (struct image){.memfd = memfd_create("floor-image", MFD_CLOEXEC)};
  if (image->memfd < 0) die_errno("memfd_create");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) die_errno("cannot open the image %s", path);
  uint64_t file_bytes = (uint64_t)status.st_size;
  if (file_bytes < sizeof(Elf64_Ehdr)) die("%s is too short for an image", path);
  const uint8_t *file = mmap(NULL, file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (file == MAP_FAILED) die_errno("cannot read the image %s", path);
  Elf64_Ehdr elf;
  memcpy(&elf, file, sizeof elf);
  if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_phoff > file_bytes ||
      elf.e_phnum > (file_bytes - elf.e_phoff) / sizeof(Elf64_Phdr)) {
    die("%s is not an ELF file", path);
  }
  for (int i = 0; i < elf.e_phnum; i++) {
    Elf64_Phdr segment;
    memcpy(&segment, file + elf.e_phoff + (size_t)i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_LOAD && segment.p_memsz > 0) add_segment(image, file, file_bytes, &segment);
  }
  munmap((void *)(uintptr_t)file, file_bytes);
  close(fd);
  /* A page that only partly comes from the file needs the rest of it in the file too, or touching it raises SIGBUS. */
  uint64_t end = 0;
  for (int i = 0; i < image->run_count; i++) {
    if (image->runs[i].gpa + image->runs[i].bytes > end) end = image->runs[i].gpa + image->runs[i].bytes;
  }
  if (ftruncate(image->memfd, (off_t)end) < 0) die_errno("cannot size the image in memory");
  read_header(image);
}
