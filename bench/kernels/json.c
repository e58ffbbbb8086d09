/*
 * json: a scanner's work: a switch for each character, number conversion, string hashing, a nesting stack.
 *
 * A one-pass JSON tokenizer of our own after the grammar of RFC 8259 (no exponents, no unicode escapes), over
 * about 64 KiB of generated text. The text is made once; n is how often it is scanned.
 */
#include <stdint.h>

#define TEXT_BYTES 65536u
#define MAX_DEPTH 16u
#define ROOM 1024u /* a value with its name is never longer than this, brackets that close it included */

static char text[TEXT_BYTES + ROOM];
static uint32_t length;
static uint32_t seed;

static uint32_t random_below(uint32_t bound) {
  seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
  return seed % bound;
}

static void put(const char *s) {
  while (*s) text[length++] = *s++;
}

static void put_number(void) {
  if (random_below(4) == 0) put("-");
  for (uint32_t digits = 1 + random_below(6), i = 0; i < digits; i++)
    text[length++] = (char)('1' + random_below(9));
  if (random_below(3) == 0) put(".25");
}

static void put_string(void) {
  put("\"");
  for (uint32_t letters = 3 + random_below(12); letters > 0; letters--) {
    if (random_below(24) == 0) put("\\n");
    text[length++] = (char)('a' + random_below(26));
  }
  put("\"");
}

static void put_value(uint32_t depth) {
  uint32_t kind = random_below(depth + 1 < MAX_DEPTH && length < TEXT_BYTES ? 8 : 5);
  if (kind == 0) {
    put(random_below(2) ? "true" : "false");
  } else if (kind == 1) {
    put("null");
  } else if (kind == 2 || kind == 3) {
    put_number();
  } else if (kind == 4) {
    put_string();
  } else {
    int object = kind != 5;
    put(object ? "{" : "[");
    for (uint32_t items = 1 + random_below(6);;) {
      if (object) {
        put_string();
        put(": ");
      }
      put_value(depth + 1);
      if (--items == 0 || length >= TEXT_BYTES) break;
      put(", ");
    }
    put(object ? "}" : "]");
  }
}

/* Folds kind and value of every token into the checksum; returns 0 when the text is not well formed. */
static uint32_t scan(uint32_t checksum) {
  char open[MAX_DEPTH + 1];
  uint32_t depth = 0, at = 0;
  while (at < length) {
    char c = text[at++];
    uint32_t token = 0;
    switch (c) {
      case ' ':
        continue;
      case '{':
      case '[':
        if (depth > MAX_DEPTH) return 0;
        open[depth++] = c;
        token = depth;
        break;
      case '}':
      case ']':
        if (depth == 0 || open[--depth] != (c == '}' ? '{' : '[')) return 0;
        token = depth;
        break;
      case ',':
      case ':':
        break;
      case '"':
        while (at < length && text[at] != '"') {
          if (text[at] == '\\') at++;
          token = token * 31 + (uint8_t)text[at++];
        }
        at++; /* the closing quote */
        break;
      case 't':
      case 'n':
        at += 3;
        break;
      case 'f':
        at += 4;
        break;
      default: {
        uint32_t negative = c == '-', value = 0;
        if (negative) c = text[at++];
        if (c < '0' || c > '9') return 0;
        for (; c >= '0' && c <= '9'; c = text[at++]) value = value * 10 + (uint32_t)(c - '0');
        if (c == '.') {
          for (c = text[at++]; c >= '0' && c <= '9'; c = text[at++]) value = value * 10 + (uint32_t)(c - '0');
        }
        at--; /* the character that ended the number is still to be read */
        token = negative ? 0u - value : value;
        c = '0';
      }
    }
    checksum = (checksum ^ (uint8_t)c) * 16777619u + token;
  }
  return depth == 0 ? checksum : 0;
}

uint32_t kernel_run(uint32_t n) {
  length = 0, seed = 2463534242u;
  put("[");
  while (length < TEXT_BYTES) {
    put_value(1);
    put(", ");
  }
  put("null]");
  text[length] = 0; /* ends a number that would be the last character */
  uint32_t checksum = 2166136261u;
  for (uint32_t round = 0; round < n && checksum != 0; round++) checksum = scan(checksum);
  return checksum;
}
