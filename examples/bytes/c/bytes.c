/* Functions over bytes and over JSON, for a host that follows docs/guest-convention.md. The same in three languages. */
#include <stdbool.h>
#include <stdint.h>

#include "barecell.h"

/* Letters of ASCII to upper case; other bytes stay, so UTF-8 stays UTF-8. */
BARECELL_EXPORT(upper) {
  if (length == 0) return 0;
  uint8_t *result = barecell_alloc(length);
  if (result == NULL) __builtin_trap();
  for (size_t i = 0; i < length; i++) {
    result[i] = input[i] >= 'a' && input[i] <= 'z' ? input[i] - ('a' - 'A') : input[i];
  }
  return barecell_give(result, length);
}

static const int64_t MAX_SAFE = INT64_C(9007199254740991); /* 2^53 - 1: what every reader of JSON knows exactly */

struct text {
  const uint8_t *at, *end;
};

static void skip_space(struct text *text) {
  while (text->at < text->end && (*text->at == ' ' || *text->at == '\t' || *text->at == '\n' || *text->at == '\r')) text->at++;
}

static bool take(struct text *text, char c) {
  if (text->at == text->end || *text->at != c) return false;
  text->at++;
  return true;
}

/* A whole number of at most 2^53 - 1. JSON has no zeros before other digits. */
static bool take_number(struct text *text, int64_t *number) {
  bool is_negative = take(text, '-');
  const uint8_t *first = text->at;
  int64_t value = 0;
  for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) {
    if (value > MAX_SAFE / 10) return false;
    value = value * 10 + (*text->at - '0');
  }
  if (text->at == first || value > MAX_SAFE || (*first == '0' && text->at - first > 1)) return false;
  *number = is_negative ? -value : value;
  return true;
}

static bool take_list(struct text *text, int64_t *total, uint32_t *count) {
  skip_space(text);
  if (!take(text, '[')) return false;
  skip_space(text);
  if (!take(text, ']')) {
    do {
      int64_t number;
      skip_space(text);
      if (!take_number(text, &number)) return false;
      *total += number;
      if (*total > MAX_SAFE || *total < -MAX_SAFE) return false;
      (*count)++;
      skip_space(text);
    } while (take(text, ','));
    if (!take(text, ']')) return false;
  }
  skip_space(text);
  return text->at == text->end;
}

/* The number in decimal digits, from the end of a buffer backwards. snprintf would bring 20 KiB, and imports. */
static char *write_number(char *end, int64_t number) {
  uint64_t rest = number < 0 ? (uint64_t)-number : (uint64_t)number;
  do *--end = (char)('0' + rest % 10);
  while (rest /= 10);
  if (number < 0) *--end = '-';
  return end;
}

static char *write_text(char *end, const char *text) {
  size_t length = strlen(text);
  return memcpy(end - length, text, length);
}

/* [1, 2, 3] to {"count":3,"sum":6}; what is not a list of whole numbers to {"error":"..."}. */
BARECELL_EXPORT(sum_json) {
  struct text text = {input, input + length};
  int64_t total = 0;
  uint32_t count = 0;
  if (!take_list(&text, &total, &count)) return barecell_text("{\"error\":\"not a list of whole numbers\"}");
  char json[64];
  char *end = json + sizeof json;
  char *at = write_text(end, "}");
  at = write_text(write_number(at, total), ",\"sum\":");
  at = write_text(write_number(at, count), "{\"count\":");
  return barecell_copy(at, (size_t)(end - at));
}
