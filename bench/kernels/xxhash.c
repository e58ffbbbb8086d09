/*
 * xxhash: 64-bit multiplies and rotates in four independent lanes: instruction-level parallelism over i64.
 *
 * The XXH64 function from its public specification (Yann Collet, xxHash), for inputs that are a multiple of
 * 32 bytes. Hashes the same 64 KiB n times; the hash of one pass is the seed of the next.
 */
#include <stdint.h>

#define DATA_BYTES 65536u
#define PRIME1 0x9E3779B185EBCA87ull
#define PRIME2 0xC2B2AE3D27D4EB4Full
#define PRIME3 0x165667B19E3779F9ull
#define PRIME4 0x85EBCA77C2B2AE63ull

static uint8_t data[DATA_BYTES];

static uint64_t rotate_left(uint64_t x, unsigned count) {
  return (x << count) | (x >> (64 - count));
}

static uint64_t load64(const uint8_t *p) {
  uint64_t value;
  __builtin_memcpy(&value, p, 8);
  return value;
}

static uint64_t mix(uint64_t lane, uint64_t input) {
  return rotate_left(lane + input * PRIME2, 31) * PRIME1;
}

static uint64_t merge(uint64_t hash, uint64_t lane) {
  return (hash ^ mix(0, lane)) * PRIME1 + PRIME4;
}

static uint64_t hash_data(uint64_t seed) {
  uint64_t a = seed + PRIME1 + PRIME2, b = seed + PRIME2, c = seed, d = seed - PRIME1;
  for (uint32_t i = 0; i < DATA_BYTES; i += 32) {
    a = mix(a, load64(data + i));
    b = mix(b, load64(data + i + 8));
    c = mix(c, load64(data + i + 16));
    d = mix(d, load64(data + i + 24));
  }
  uint64_t hash = rotate_left(a, 1) + rotate_left(b, 7) + rotate_left(c, 12) + rotate_left(d, 18);
  hash = merge(merge(merge(merge(hash, a), b), c), d) + DATA_BYTES;
  hash = (hash ^ (hash >> 33)) * PRIME2;
  hash = (hash ^ (hash >> 29)) * PRIME3;
  return hash ^ (hash >> 32);
}

uint32_t kernel_run(uint32_t n) {
  for (uint32_t i = 0; i < DATA_BYTES; i++) data[i] = (uint8_t)(i * 7 + (i >> 8));
  uint64_t hash = 0;
  for (uint32_t pass = 0; pass < n; pass++) hash = hash_data(hash);
  return (uint32_t)(hash ^ (hash >> 32));
}
