/*
 * lz: hash-table match finding, byte copies of varying length, branches that depend on data.
 *
 * A byte-oriented LZ77 compressor in the manner of LZ4 (greedy, one hash-table probe for each position; our
 * own stream format), and its decompressor. Each of n rounds makes 64 KiB of word-like text, compresses it,
 * expands it again and compares.
 */
#include <stdint.h>

#define TEXT_BYTES 65536u
#define HASH_BITS 12
#define MIN_MATCH 4u
#define TAIL 8u /* the last bytes are always literals, so that no four-byte load passes the end */

static uint8_t text[TEXT_BYTES], expanded[TEXT_BYTES];
static uint8_t packed[TEXT_BYTES + TEXT_BYTES / 64 + 64];
static uint32_t last_seen[1u << HASH_BITS]; /* position + 1 of the last occurrence; 0 for none */

static uint32_t make_text(uint32_t seed) {
  uint32_t at = 0;
  while (at < TEXT_BYTES) {
    seed = seed * 1664525u + 1013904223u;
    /* One of 1,024 words; the same number always gives the same word. The square favours small numbers. */
    uint32_t r = seed >> 22, word = (r * r) >> 10;
    uint32_t letters = word * 2654435761u, length = 2 + word % 9;
    for (uint32_t i = 0; i < length && at < TEXT_BYTES; i++) {
      text[at++] = (uint8_t)('a' + (letters >> 27) % 26);
      letters = letters * 69069u + 12345u;
    }
    if (at < TEXT_BYTES) text[at++] = ' ';
  }
  return seed;
}

static uint32_t load32(const uint8_t *p) {
  uint32_t value;
  __builtin_memcpy(&value, p, 4);
  return value;
}

/* Lengths are base-128 numbers, least significant part first. */
static uint32_t put_number(uint32_t out, uint32_t value) {
  for (; value >= 128; value >>= 7) packed[out++] = (uint8_t)(value | 128);
  packed[out++] = (uint8_t)value;
  return out;
}

static uint32_t put_literals(uint32_t out, uint32_t from, uint32_t to) {
  out = put_number(out, to - from);
  while (from < to) packed[out++] = text[from++];
  return out;
}

/* The stream: literal count, literals, match length, distance, and so on; a match length of 0 ends it. */
static uint32_t compress(void) {
  uint32_t out = 0, anchor = 0, at = 0;
  for (uint32_t i = 0; i < 1u << HASH_BITS; i++) last_seen[i] = 0;
  while (at < TEXT_BYTES - TAIL) {
    uint32_t sequence = load32(text + at);
    uint32_t slot = (sequence * 2654435761u) >> (32 - HASH_BITS);
    uint32_t candidate = last_seen[slot];
    last_seen[slot] = at + 1;
    if (candidate == 0 || load32(text + candidate - 1) != sequence) {
      at++;
      continue;
    }
    uint32_t from = candidate - 1, length = MIN_MATCH;
    while (at + length < TEXT_BYTES - TAIL && text[from + length] == text[at + length]) length++;
    out = put_literals(out, anchor, at);
    out = put_number(out, length);
    out = put_number(out, at - from);
    at += length;
    anchor = at;
  }
  out = put_literals(out, anchor, TEXT_BYTES);
  return put_number(out, 0);
}

static uint32_t get_number(uint32_t *in) {
  uint32_t value = 0, shift = 0, byte;
  do {
    byte = packed[(*in)++];
    value |= (byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  return value;
}

static uint32_t expand(void) {
  uint32_t in = 0, out = 0;
  for (;;) {
    for (uint32_t count = get_number(&in); count > 0; count--) expanded[out++] = packed[in++];
    uint32_t length = get_number(&in);
    if (length == 0) return out;
    uint32_t distance = get_number(&in);
    /* Byte by byte: a match may overlap what it writes. */
    for (; length > 0; length--, out++) expanded[out] = expanded[out - distance];
  }
}

uint32_t kernel_run(uint32_t n) {
  uint32_t seed = 1, checksum = 0;
  for (uint32_t round = 0; round < n; round++) {
    seed = make_text(seed);
    uint32_t size = compress();
    for (uint32_t i = 0; i < size; i++) checksum = (checksum ^ packed[i]) * 16777619u;
    if (expand() != TEXT_BYTES) return 0;
    for (uint32_t i = 0; i < TEXT_BYTES; i++) {
      if (text[i] != expanded[i]) return 0; /* the round trip failed: no valid checksum */
    }
    checksum += size;
  }
  return checksum;
}
