/*
 * base64: byte loads and stores, shifts, small table look-ups; the shape of most encoding work.
 *
 * Base 64 as in RFC 4648, section 4, for an input that is a multiple of three bytes. Each of n rounds encodes
 * 48 KiB, decodes the text again and carries on with the decoded bytes, changed a little.
 */
#include <stdint.h>

#define RAW_BYTES (48u * 1024u)
#define TEXT_BYTES (RAW_BYTES / 3 * 4)
#define INVALID 255u

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint8_t raw[RAW_BYTES];
static uint8_t text[TEXT_BYTES];
static uint8_t reverse[256];

static void encode(void) {
  for (uint32_t in = 0, out = 0; in < RAW_BYTES; in += 3, out += 4) {
    uint32_t group = (uint32_t)raw[in] << 16 | (uint32_t)raw[in + 1] << 8 | raw[in + 2];
    text[out] = (uint8_t)alphabet[group >> 18];
    text[out + 1] = (uint8_t)alphabet[(group >> 12) & 63];
    text[out + 2] = (uint8_t)alphabet[(group >> 6) & 63];
    text[out + 3] = (uint8_t)alphabet[group & 63];
  }
}

static int decode(void) {
  for (uint32_t in = 0, out = 0; in < TEXT_BYTES; in += 4, out += 3) {
    uint32_t a = reverse[text[in]], b = reverse[text[in + 1]];
    uint32_t c = reverse[text[in + 2]], d = reverse[text[in + 3]];
    if ((a | b | c | d) == INVALID) return 0;
    uint32_t group = a << 18 | b << 12 | c << 6 | d;
    raw[out] = (uint8_t)(group >> 16);
    raw[out + 1] = (uint8_t)(group >> 8);
    raw[out + 2] = (uint8_t)group;
  }
  return 1;
}

uint32_t kernel_run(uint32_t n) {
  for (uint32_t i = 0; i < 256; i++) reverse[i] = INVALID;
  for (uint32_t i = 0; i < 64; i++) reverse[(uint8_t)alphabet[i]] = (uint8_t)i;
  for (uint32_t i = 0; i < RAW_BYTES; i++) raw[i] = (uint8_t)(i * 7 + (i >> 8));

  uint32_t checksum = 2166136261u;
  for (uint32_t round = 0; round < n; round++) {
    raw[round % RAW_BYTES] ^= (uint8_t)(round + 1);
    encode();
    for (uint32_t i = 0; i < TEXT_BYTES; i += 64) checksum = (checksum ^ text[i]) * 16777619u;
    if (!decode()) return 0;
  }
  for (uint32_t i = 0; i < RAW_BYTES; i++) checksum = (checksum ^ raw[i]) * 16777619u;
  return checksum;
}
