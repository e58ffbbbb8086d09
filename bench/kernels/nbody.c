/*
 * nbody: f64 division and square root in a dependent chain, few data.
 *
 * Gravity between eight bodies, softened, by the semi-implicit Euler method (velocities first, then places).
 * The bodies start at pseudo-random places. n is the number of time steps.
 */
#include <stdint.h>

#define BODIES 8
#define STEP 0.001
#define SOFTENING 0.01 /* keeps a close encounter from throwing bodies out */

struct body {
  double x, y, z, vx, vy, vz, mass;
};

static struct body bodies[BODIES];
static uint32_t seed;

/* Between -1 and 1. */
static double random_coordinate(void) {
  seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
  return (double)(int32_t)seed / 2147483648.0;
}

static void advance(void) {
  for (int i = 0; i < BODIES; i++) {
    for (int j = i + 1; j < BODIES; j++) {
      struct body *p = &bodies[i], *q = &bodies[j];
      double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
      double square = dx * dx + dy * dy + dz * dz + SOFTENING;
      double pull = STEP / (square * __builtin_sqrt(square));
      p->vx -= dx * q->mass * pull;
      p->vy -= dy * q->mass * pull;
      p->vz -= dz * q->mass * pull;
      q->vx += dx * p->mass * pull;
      q->vy += dy * p->mass * pull;
      q->vz += dz * p->mass * pull;
    }
  }
  for (int i = 0; i < BODIES; i++) {
    bodies[i].x += bodies[i].vx * STEP;
    bodies[i].y += bodies[i].vy * STEP;
    bodies[i].z += bodies[i].vz * STEP;
  }
}

static uint32_t fold(uint32_t checksum, double value) {
  uint64_t bits;
  __builtin_memcpy(&bits, &value, 8);
  return checksum * 31 + (uint32_t)(bits ^ (bits >> 32));
}

uint32_t kernel_run(uint32_t n) {
  seed = 2463534242u;
  for (int i = 0; i < BODIES; i++) {
    bodies[i].x = random_coordinate();
    bodies[i].y = random_coordinate();
    bodies[i].z = random_coordinate();
    bodies[i].vx = bodies[i].vy = bodies[i].vz = 0.0;
    bodies[i].mass = 1.0 + 0.25 * i;
  }
  for (uint32_t step = 0; step < n; step++) advance();
  uint32_t checksum = 0;
  for (int i = 0; i < BODIES; i++) {
    checksum = fold(fold(fold(checksum, bodies[i].x), bodies[i].y), bodies[i].z);
  }
  return checksum;
}
