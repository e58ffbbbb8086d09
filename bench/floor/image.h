/* An image (`.cell`) as the floor program needs it: what to map where, and which registers to set. */
#ifndef BARECELL_FLOOR_IMAGE_H
#define BARECELL_FLOOR_IMAGE_H

#include <stdint.h>

#define IMAGE_MAX_RUNS 64

/* Neighbouring segments that come from the file: one mapping each. */
struct image_run {
  uint64_t gpa;
  uint64_t bytes;
};

struct image {
  /* The image's bytes, each at the offset of its guest-physical address (a sparse file in memory). */
  int memfd;
  struct image_run runs[IMAGE_MAX_RUNS];
  int run_count;
  /* Ends of what lies below 4 GiB, and of linear memory where it lies there (0: it does not). */
  uint64_t low_end;
  uint64_t high_end;
  /* From the image's header page; addresses are guest virtual unless they say gpa. */
  uint64_t boot_entry;
  uint64_t call_entry;
  uint64_t mailbox_gpa;
  uint64_t mailbox_bytes;
  uint64_t run_pml4_gpa;
  uint64_t idt;
  uint64_t tss_limit;
};

/* Ends the program with a message if the file is not an image. */
void image_open(struct image *image, const char *path);

/* End the program with a message; the second adds what `errno` says. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void die_errno(const char *format, ...);

#endif
