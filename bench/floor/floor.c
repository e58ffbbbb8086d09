/*
 * The floor: what starting a VM from an image costs when a C program makes the bare system calls and nothing else. It takes the same
 * image as the addon, maps it the same way, and goes the plain way from one system call to the next. Whatever barecell takes longer is
 * barecell's own; whatever it takes less, it has saved.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "report.h"

struct options {
  const char *image;
  bool staged, calls, steps, json, spare, hold;
  long runs, host_calls, resets, live;
  struct call call;
};

#define MOST_SERIES 3

__attribute__((noreturn)) static void usage(void) {
  fputs("usage: floor IMAGE [--boot staged|direct] [--runs N] [--call FUNCTION_INDEX [SLOT…]] [--host-call N] [--reset N] [--live N] [--spare] [--hold]\n"
        "             [--steps] [--json]\n"
        "  --call       after the boot, calls that function of the image with 64-bit slots\n"
        "  --host-call  besides, measures the round trip of N exits from ring 3, in another VM\n"
        "  --reset      instead, measures N times in one VM to copy back what a call wrote and to make it again; needs --call\n"
        "  --live       beside N other VMs, which live all the time and made the call\n"
        "  --spare      beside another VM, which is empty\n"
        "  --hold       measures nothing: each line of the standard input says how many live VMs to make, until it ends\n"
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

static long count(const char *text, long least) {
  uint64_t value = number(text);
  if (value > 1000000 || (long)value < least) usage();
  return (long)value;
}

static struct options parse(char **arguments) {
  struct options options = {.staged = true, .runs = 100};
  for (char **at = arguments; *at != NULL; at++) {
    if (strcmp(*at, "--boot") == 0) {
      at++;
      if (*at == NULL || (strcmp(*at, "staged") != 0 && strcmp(*at, "direct") != 0)) usage();
      options.staged = strcmp(*at, "staged") == 0;
    } else if (strcmp(*at, "--runs") == 0) {
      options.runs = count(*++at, 1);
    } else if (strcmp(*at, "--host-call") == 0) {
      options.host_calls = count(*++at, 0);
    } else if (strcmp(*at, "--reset") == 0) {
      options.resets = count(*++at, 1);
    } else if (strcmp(*at, "--live") == 0) {
      options.live = count(*++at, 0);
    } else if (strcmp(*at, "--call") == 0) {
      options.calls = true;
      options.call.function = (uint32_t)number(*++at);
      while (at[1] != NULL && strncmp(at[1], "--", 2) != 0 && options.call.argument_count < MAX_ARGUMENTS) {
        options.call.arguments[options.call.argument_count++] = number(*++at);
      }
    } else if (strcmp(*at, "--spare") == 0) {
      options.spare = true;
    } else if (strcmp(*at, "--hold") == 0) {
      options.hold = true;
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
  if (options.image == NULL || (options.resets > 0 && (!options.calls || options.host_calls > 0))) usage();
  return options;
}

static struct series make_series(const char *name, long runs) {
  struct series series = {name, calloc((size_t)runs, sizeof(double))};
  if (series.samples == NULL) die_errno("no memory");
  return series;
}

/* What was measured: `runs` samples of each series, and of each step if there are any. */
struct result {
  long runs;
  int count;
  struct series series[MOST_SERIES];
  struct series steps[STEPS];
  uint64_t slot;
};

static struct result measure_boots(const struct options *options, const struct start *start) {
  struct result result = {.runs = options->runs, .count = options->host_calls > 0 ? 3 : 2};
  static const char *const NAMES[MOST_SERIES] = {"boot to result", "close", "host call"};
  for (int i = 0; i < result.count; i++) result.series[i] = make_series(NAMES[i], options->runs);
  for (int i = 0; i < STEPS; i++) result.steps[i] = make_series(STEP_NAMES[i], options->runs);
  for (long i = -WARM_UP; i < options->runs; i++) {
    double took[STEPS];
    result.slot = measure_boot(start, took);
    if (i < 0) continue;
    for (int step = 0; step < CLOSE; step++) result.series[0].samples[i] += took[step];
    result.series[1].samples[i] = took[CLOSE];
    for (int step = 0; step < STEPS; step++) result.steps[step].samples[i] = took[step];
    if (options->host_calls > 0) result.series[2].samples[i] = measure_host_calls(start, options->host_calls);
  }
  return result;
}

static struct result measure_resets(const struct options *options, const struct start *start) {
  struct result result = {.runs = options->resets, .count = 3};
  static const char *const NAMES[MOST_SERIES] = {"reset and call", "call after reset", "call again"};
  for (int i = 0; i < result.count; i++) result.series[i] = make_series(NAMES[i], options->resets);
  struct warm_samples samples = {result.series[0].samples, result.series[1].samples, result.series[2].samples};
  result.slot = measure_warm(start, options->resets, &samples);
  return result;
}

static void report(const struct options *options, struct result *result) {
  bool steps = options->steps && result->steps[0].samples != NULL;
  const char *boot = options->staged ? "staged" : "direct";
  if (!options->json) {
    printf("%s boot%s, %ld runs after %d to warm up\n", boot, options->calls ? " and one call" : "", result->runs, WARM_UP);
    print_table(result->series, result->count, result->runs);
    if (steps) print_table(result->steps, STEPS, result->runs);
    if (options->calls) printf("first result slot: %llu\n", (unsigned long long)result->slot);
    return;
  }
  /* Slots as strings: JSON's readers take numbers for doubles. */
  printf("{\"boot\": \"%s\", \"unit\": \"us\", \"runs\": %ld, \"warmUp\": %d, \"slot\": \"%llu\", \"samples\": {", boot, result->runs, WARM_UP,
         (unsigned long long)result->slot);
  print_json_series(result->series, result->count, result->runs);
  printf("}");
  if (steps) {
    printf(", \"steps\": {");
    print_json_series(result->steps, STEPS, result->runs);
    printf("}");
  }
  printf("}\n");
}

int main(int argc, char **argv) {
  (void)argc;
  struct options options = parse(argv + 1);
  struct host host;
  struct image image;
  host_open(&host);
  image_open(&image, options.image);
  if (options.spare) host_make_spare(&host);
  if (BC_MAILBOX_HEADER_BYTES + (uint64_t)options.call.argument_count * BC_SLOT_BYTES > image.mailbox_bytes) die("too many arguments");
  struct start start = {&host, &image, options.staged, options.calls ? &options.call : NULL};
  make_live(&start, options.live);
  if (options.hold) {
    hold_live(&start);
    return 0;
  }
  struct result result = options.resets > 0 ? measure_resets(&options, &start) : measure_boots(&options, &start);
  report(&options, &result);
  return 0;
}
