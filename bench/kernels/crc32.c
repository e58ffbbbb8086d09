/*
 * crc32: table look-ups; eight independent loads of 4 KiB of tables for every eight bytes, joined by xor.
 *
 * The IEEE 802.3 CRC (reflected polynomial 0xEDB88320) with the slicing-by-8 method of Kounavis and Berry,
 * 2005. Runs n times over the same 64 KiB, each pass continuing the CRC of the one before.
 */
#include <stdint.h>

#define DATA_BYTES 65536u

static uint8_t data[DATA_BYTES];
static uint32_t tables[8][256];

static void make_tables(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (unsigned bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1)));
    tables[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; i++) {
    for (unsigned t = 1; t < 8; t++)
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
  }
}

static uint32_t load32(const uint8_t *p) {
  uint32_t value;
  __builtin_memcpy(&value, p, 4);
  return value;
}

static uint32_t crc_pass(uint32_t crc) {
  for (uint32_t i = 0; i < DATA_BYTES; i += 8) {
    uint32_t low = load32(data + i) ^ crc;
    uint32_t high = load32(data + i + 4);
    crc = tables[7][low & 255] ^ tables[6][(low >> 8) & 255] ^ tables[5][(low >> 16) & 255] ^
          tables[4][low >> 24] ^ tables[3][high & 255] ^ tables[2][(high >> 8) & 255] ^
          tables[1][(high >> 16) & 255] ^ tables[0][high >> 24];
  }
  return crc;
}

uint32_t kernel_run(uint32_t n) {
  make_tables();
  for (uint32_t i = 0; i < DATA_BYTES; i++) data[i] = (uint8_t)(i * 7 + (i >> 8));
  uint32_t crc = 0xFFFFFFFFu;
  for (uint32_t pass = 0; pass < n; pass++) crc = crc_pass(crc);
  return ~crc;
}
