/*
 * long: computing in earnest, n rounds of four kinds of work that keep different parts of a processor busy: a matrix product (multiply
 * and add), sorting a linked list (loads that depend on each other), a text scanner (a switch and branches on data), and a checksum
 * (shifts). Each part feeds the next through the checksum, so none can be left out.
 */
#include <stdint.h>

#define SIZE 64u
#define NODES 4096u
#define LETTERS 16384u

static uint32_t left[SIZE][SIZE], right[SIZE][SIZE];
static struct node {
  uint32_t key;
  uint32_t next; /* index + 1; 0 ends the list */
} nodes[NODES];
static char letters[LETTERS];

static uint32_t next_random(uint32_t *seed) {
  *seed ^= *seed << 13, *seed ^= *seed >> 17, *seed ^= *seed << 5;
  return *seed;
}

static uint32_t checksum(uint32_t crc, uint32_t value) {
  crc ^= value;
  for (unsigned bit = 0; bit < 32; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
  return crc;
}

static uint32_t multiply(uint32_t crc) {
  uint32_t seed = crc | 1u;
  for (uint32_t i = 0; i < SIZE; i++)
    for (uint32_t j = 0; j < SIZE; j++) left[i][j] = next_random(&seed), right[i][j] = next_random(&seed);
  for (uint32_t i = 0; i < SIZE; i++) {
    uint32_t row = 0;
    for (uint32_t j = 0; j < SIZE; j++) {
      uint32_t sum = 0;
      for (uint32_t k = 0; k < SIZE; k++) sum += left[i][k] * right[k][j];
      row ^= sum + j;
    }
    crc = checksum(crc, row);
  }
  return crc;
}

static uint32_t merge(uint32_t a, uint32_t b) {
  uint32_t head = 0, *tail = &head;
  while (a != 0 && b != 0) {
    uint32_t *from = nodes[a - 1].key <= nodes[b - 1].key ? &a : &b;
    *tail = *from;
    tail = &nodes[*from - 1].next;
    *from = *tail;
  }
  *tail = a != 0 ? a : b;
  return head;
}

/* From the bottom up: place i holds a sorted list of 2^i nodes, or none. */
static uint32_t sort(uint32_t crc) {
  uint32_t seed = crc | 1u, places[16] = {0};
  for (uint32_t i = 0; i < NODES; i++) nodes[i].key = next_random(&seed), nodes[i].next = 0;
  for (uint32_t i = 0; i < NODES; i++) {
    uint32_t list = i * 1597u % NODES + 1, place = 0;
    for (; places[place] != 0; place++) list = merge(places[place], list), places[place] = 0;
    places[place] = list;
  }
  uint32_t sorted = 0;
  for (uint32_t place = 0; place < 16; place++) sorted = merge(places[place], sorted);
  for (uint32_t at = sorted, i = 0; at != 0; at = nodes[at - 1].next, i++)
    if (i % 64 == 0) crc = checksum(crc, nodes[at - 1].key);
  return crc;
}

static uint32_t scan(uint32_t crc) {
  uint32_t seed = crc | 1u, words = 0, numbers = 0, value = 0;
  for (uint32_t i = 0; i < LETTERS; i++) letters[i] = "ab 1,2.x;3 yz-45"[next_random(&seed) >> 28];
  enum { BETWEEN, WORD, NUMBER } state = BETWEEN;
  for (uint32_t i = 0; i < LETTERS; i++) {
    char c = letters[i];
    switch (state) {
      case BETWEEN:
        if (c >= 'a' && c <= 'z') state = WORD, words++;
        else if (c >= '0' && c <= '9') state = NUMBER, numbers++, value += (uint32_t)(c - '0');
        break;
      case WORD:
        if (c < 'a' || c > 'z') state = BETWEEN;
        break;
      case NUMBER:
        if (c < '0' || c > '9') state = BETWEEN;
        else value = value * 10 + (uint32_t)(c - '0');
        break;
    }
  }
  return checksum(crc, words ^ numbers << 16 ^ value);
}

uint32_t kernel_run(uint32_t n) {
  uint32_t crc = 0x12345678;
  for (uint32_t i = 0; i < n; i++) crc = scan(sort(multiply(crc)));
  return crc;
}
