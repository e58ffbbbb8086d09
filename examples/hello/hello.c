/*
 * hello: a WASI preview 1 command without a WASI SDK or a libc. It prints what it is given (arguments,
 * environment, time), computes something to see (the Mandelbrot set), proves it by a SHA-256 of the picture,
 * and exits.
 *
 * An argument changes how it ends:  fail: exit code 3;  trap: `unreachable`;  loop: never.
 *
 * Built with Debian's clang and lld (the .wasm file is committed, so only a change needs this):
 *   clang --target=wasm32 -mcpu=mvp -mbulk-memory -std=c11 -Os -ffp-contract=off -Wall -Wextra -nostdlib
 *     -Wl,--export=_start -Wl,--stack-first -Wl,-z,stack-size=16384 -o hello.wasm hello.c
 */
#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

/* Imported by hand: pointers and sizes are offsets into this module's memory, results are error numbers. */
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) extern

struct ciovec {
  const char *bytes;
  size_t length;
};

WASI(args_sizes_get) int32_t args_sizes_get(size_t *count, size_t *bytes);
WASI(args_get) int32_t args_get(char **list, char *bytes);
WASI(environ_sizes_get) int32_t environ_sizes_get(size_t *count, size_t *bytes);
WASI(environ_get) int32_t environ_get(char **list, char *bytes);
WASI(clock_time_get) int32_t clock_time_get(int32_t clock, uint64_t precision, uint64_t *nanoseconds);
WASI(fd_write) int32_t fd_write(int32_t fd, const struct ciovec *list, size_t count, size_t *written);
WASI(proc_exit) _Noreturn void proc_exit(int32_t code);

enum { REALTIME, MONOTONIC }; /* WASI's clock numbers */
enum { MAX_STRINGS = 64, MAX_STRING_BYTES = 4096, COLUMNS = 64, ROWS = 22 };

static char output[4096];
static size_t output_length;

/* Output is collected, because every fd_write leaves the virtual machine. */
static void flush(void) {
  for (size_t done = 0; done < output_length;) {
    struct ciovec rest = {output + done, output_length - done};
    size_t written = 0;
    if (fd_write(1, &rest, 1, &written) != 0 || written == 0) proc_exit(1);
    done += written;
  }
  output_length = 0;
}

static void put_char(char c) {
  if (output_length == sizeof output) flush();
  output[output_length++] = c;
}

static void put(const char *text) {
  while (*text) put_char(*text++);
}

static void put_number(uint64_t value, unsigned digits) {
  char reversed[20];
  unsigned count = 0;
  for (; value > 0 || count < digits; value /= 10) reversed[count++] = (char)('0' + value % 10);
  while (count > 0) put_char(reversed[--count]);
}

static int equal(const char *a, const char *b) {
  for (; *a && *a == *b; a++) b++;
  return *a == *b;
}

static uint64_t now(int32_t clock) {
  uint64_t nanoseconds = 0;
  if (clock_time_get(clock, 1, &nanoseconds) != 0) proc_exit(1);
  return nanoseconds;
}

/* The Gregorian date of a count of days since 1970-01-01 (the algorithm is Howard Hinnant's civil_from_days).
 */
static void put_date(uint64_t days_since_1970) {
  uint32_t days = (uint32_t)days_since_1970 + 719468; /* since 0000-03-01: leap days end a year then */
  uint32_t era = days / 146097, day_of_era = days % 146097;
  uint32_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  uint32_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
  uint32_t month = (5 * day_of_year + 2) / 153; /* 0 is March */
  uint32_t day = day_of_year - (153 * month + 2) / 5 + 1;
  put_number(era * 400 + year + (month >= 10), 4);
  put_char('-');
  put_number(month < 10 ? month + 3 : month - 9, 2);
  put_char('-');
  put_number(day, 2);
}

static void put_time(uint64_t nanoseconds) {
  uint64_t seconds = nanoseconds / 1000000000;
  put_date(seconds / 86400);
  put_char(' ');
  put_number(seconds / 3600 % 24, 2);
  put_char(':');
  put_number(seconds / 60 % 60, 2);
  put_char(':');
  put_number(seconds % 60, 2);
  put(" UTC");
}

static char shade(double cx, double cy) {
  static const char shades[] = " .:-=+*%@#";
  double x = 0, y = 0;
  for (unsigned i = 0; i < 1000; i++) {
    double xx = x * x, yy = y * y;
    if (xx + yy > 4) return shades[i < 18 ? i / 2 : 8];
    y = 2 * x * y + cy;
    x = xx - yy + cx;
  }
  return shades[9];
}

/* Draws into a text of ROWS lines; returns its length. */
static size_t draw(char *picture) {
  size_t length = 0;
  for (int row = 0; row < ROWS; row++) {
    for (int column = 0; column < COLUMNS; column++) {
      picture[length++] = shade(-2.2 + 3.2 * column / (COLUMNS - 1), -1.2 + 2.4 * row / (ROWS - 1));
    }
    picture[length++] = '\n';
  }
  return length;
}

/* Functions of their own, never inlined, so that a backtrace shows how it came to the end. */
__attribute__((noinline)) static void trap(void) {
  __builtin_trap();
}

__attribute__((noinline)) static void loop(void) {
  for (;;) {
  }
}

__attribute__((noinline)) static void end_as_asked(const char *how) {
  if (equal(how, "fail")) proc_exit(3);
  if (equal(how, "trap")) trap();
  if (equal(how, "loop")) loop();
}

static char *strings[MAX_STRINGS];
static char string_bytes[MAX_STRING_BYTES];

void _start(void) {
  put("Hello from WebAssembly!\n");

  size_t count = 0, bytes = 0;
  const char *how = "";
  if (args_sizes_get(&count, &bytes) != 0 || count > MAX_STRINGS || bytes > MAX_STRING_BYTES) proc_exit(1);
  if (args_get(strings, string_bytes) != 0) proc_exit(1);
  for (size_t i = 0; i < count; i++) {
    put(i == 0 ? "program:     " : "argument:    ");
    put(strings[i]);
    put_char('\n');
  }
  /* The environment gets the same buffer, so the argument has to be understood first. */
  static const char *const endings[] = {"fail", "trap", "loop"};
  for (size_t i = 0; count > 1 && i < 3; i++) {
    if (equal(strings[1], endings[i])) how = endings[i];
  }

  if (environ_sizes_get(&count, &bytes) != 0 || count > MAX_STRINGS || bytes > MAX_STRING_BYTES) proc_exit(1);
  if (environ_get(strings, string_bytes) != 0) proc_exit(1);
  for (size_t i = 0; i < count; i++) {
    put("environment: ");
    put(strings[i]);
    put_char('\n');
  }

  put("time:        ");
  put_time(now(REALTIME));
  put_char('\n');

  static char picture[(COLUMNS + 1) * ROWS + 1]; /* one byte stays 0 and ends the text */
  uint64_t begin = now(MONOTONIC);
  size_t length = draw(picture);
  uint64_t spent = now(MONOTONIC) - begin;
  put_char('\n');
  put(picture);
  put("\nSHA-256 of the picture: ");
  uint8_t digest[32];
  sha256(picture, length, digest);
  for (unsigned i = 0; i < 64; i++) put_char("0123456789abcdef"[(digest[i / 2] >> (i % 2 ? 0 : 4)) & 15]);
  put("\ndrawn in ");
  put_number(spent / 1000, 1);
  put(" microseconds\n");

  flush();
  end_as_asked(how);
  proc_exit(0);
}
