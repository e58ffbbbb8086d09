/*
 * words: counts lines, words and bytes of its standard input, or of files and of all that is in directories, and says which words
 * are the most frequent. Plain C over wasi-libc: nothing here knows of barecell.
 *
 *   words [-t N] [PATH...]     -t: also the N most frequent words
 *
 * A word is what white space parts. For their frequency, words are runs of letters (and of bytes that are not ASCII), in lower case.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_WORD_BYTES = 64, MAX_PATH_BYTES = 4096, MAX_DEPTH = 64 };

struct counts {
  uint64_t lines, words, bytes;
};

struct word {
  char *text; /* NULL: a free place */
  uint64_t count;
};

/* Open addressing; the number of places is a power of two, and at least a quarter of them is free. */
static struct word *table;
static size_t places, used;

static struct counts total;
static unsigned inputs;
static bool failed, wants_frequency;

static void complain(const char *what) {
  fprintf(stderr, "words: %s: %s\n", what, strerror(errno));
  failed = true;
}

static void *need(void *memory) {
  if (memory != NULL) return memory;
  fputs("words: out of memory\n", stderr);
  exit(2);
}

static struct word *place_of(struct word *in, size_t count, const char *text) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  for (const char *c = text; *c; c++) hash = (hash ^ (uint8_t)*c) * 16777619u;
  size_t at = hash & (count - 1);
  while (in[at].text != NULL && strcmp(in[at].text, text) != 0) at = (at + 1) & (count - 1);
  return &in[at];
}

static void grow(void) {
  size_t more = places == 0 ? 1024 : places * 2;
  struct word *fresh = need(calloc(more, sizeof *fresh));
  for (size_t i = 0; i < places; i++) {
    if (table[i].text != NULL) *place_of(fresh, more, table[i].text) = table[i];
  }
  free(table);
  table = fresh;
  places = more;
}

static void note(const char *text) {
  if (used * 4 >= places * 3) grow();
  struct word *word = place_of(table, places, text);
  if (word->text == NULL) {
    word->text = need(strdup(text));
    used++;
  }
  word->count++;
}

/* Reads the stream to its end. */
static struct counts count(FILE *from) {
  struct counts counts = {0, 0, 0};
  char word[MAX_WORD_BYTES + 1];
  size_t length = 0;
  bool in_word = false;
  for (int c; (c = getc(from)) != EOF;) {
    counts.bytes++;
    if (c == '\n') counts.lines++;
    bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space && !in_word) counts.words++;
    in_word = !space;
    if (!wants_frequency) continue;
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
    if ((c >= 'a' && c <= 'z') || c >= 0x80) {
      if (length < MAX_WORD_BYTES) word[length++] = (char)c;
    } else if (length > 0) {
      word[length] = 0;
      note(word);
      length = 0;
    }
  }
  if (length > 0) {
    word[length] = 0;
    note(word);
  }
  return counts;
}

static void print(struct counts counts, const char *name) {
  printf("%8" PRIu64 " %8" PRIu64 " %8" PRIu64 "%s%s\n", counts.lines, counts.words, counts.bytes, *name ? " " : "", name);
}

static void count_stream(FILE *from, const char *name) {
  struct counts counts = count(from);
  if (ferror(from)) {
    complain(*name ? name : "standard input");
    return;
  }
  print(counts, name);
  total.lines += counts.lines;
  total.words += counts.words;
  total.bytes += counts.bytes;
  inputs++;
}

static int not_dots(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* A file, or all that is in a directory, in the order of its names. */
static void visit(const char *path, unsigned depth) {
  struct stat status;
  if (stat(path, &status) != 0) {
    complain(path);
    return;
  }
  if (!S_ISDIR(status.st_mode)) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
      complain(path);
      return;
    }
    count_stream(file, path);
    fclose(file);
    return;
  }
  struct dirent **entries;
  errno = ELOOP;
  int found = depth == MAX_DEPTH ? -1 : scandir(path, &entries, not_dots, alphasort);
  if (found < 0) {
    complain(path);
    return;
  }
  const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
  for (int i = 0; i < found; i++) {
    char below[MAX_PATH_BYTES];
    if ((size_t)snprintf(below, sizeof below, "%s%s%s", path, slash, entries[i]->d_name) < sizeof below) {
      visit(below, depth + 1);
    } else {
      errno = ENAMETOOLONG;
      complain(path);
    }
    free(entries[i]);
  }
  free(entries);
}

static int by_count(const void *left, const void *right) {
  const struct word *a = left, *b = right;
  if (a->count != b->count) return a->count < b->count ? 1 : -1;
  return strcmp(a->text, b->text);
}

static void print_frequent(size_t most) {
  size_t filled = 0;
  for (size_t i = 0; i < places; i++) {
    if (table[i].text != NULL) table[filled++] = table[i];
  }
  if (filled > 0) qsort(table, filled, sizeof *table, by_count);
  for (size_t i = 0; i < filled && i < most; i++) printf("%8" PRIu64 " %s\n", table[i].count, table[i].text);
}

int main(int argc, char **argv) {
  int next = 1;
  size_t most = 0;
  if (argc > 1 && strcmp(argv[1], "-t") == 0) {
    char *end = "?";
    if (argc > 2) most = strtoul(argv[2], &end, 10);
    if (*end != 0 || most == 0) {
      fputs("usage: words [-t N] [PATH...]\n", stderr);
      return 2;
    }
    wants_frequency = true;
    next = 3;
  }
  if (next == argc) count_stream(stdin, "");
  for (; next < argc; next++) visit(argv[next], 0);
  if (inputs > 1) print(total, "total");
  if (wants_frequency) print_frequent(most);
  if (fflush(stdout) != 0) complain("standard output");
  return failed ? 1 : 0;
}
