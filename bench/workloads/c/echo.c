/*
 * echo: what the smallest handler of a web function does. kernel_data holds a request of n bytes in the form of HTTP/1.1; it is parsed
 * (method, path, each header's name, Content-Length), and the answer with the same body is left in kernel_data. Returns the answer's
 * length, 0 if the request is no good.
 */
#include <stdint.h>

#define CAPACITY 16384u
#define BODY_MAX 8192u

uint8_t kernel_data[CAPACITY];
static uint8_t body[BODY_MAX];

/* Where the line that begins at `at` ends, or n. */
static uint32_t line_end(uint32_t at, uint32_t n) {
  while (at + 1 < n && !(kernel_data[at] == '\r' && kernel_data[at + 1] == '\n')) at++;
  return at + 1 < n ? at : n;
}

static int starts_with(uint32_t at, uint32_t end, const char *name) {
  for (; *name != 0; at++, name++) {
    if (at >= end) return 0;
    uint8_t c = kernel_data[at];
    if (c >= 'A' && c <= 'Z') c = (uint8_t)(c + 32);
    if (c != (uint8_t)*name) return 0;
  }
  return 1;
}

static uint32_t put(uint32_t at, const char *text) {
  while (*text != 0) kernel_data[at++] = (uint8_t)*text++;
  return at;
}

static uint32_t put_number(uint32_t at, uint32_t value) {
  char digits[10];
  uint32_t count = 0;
  do digits[count++] = (char)('0' + value % 10), value /= 10;
  while (value != 0);
  while (count > 0) kernel_data[at++] = (uint8_t)digits[--count];
  return at;
}

uint32_t kernel_run(uint32_t n) {
  if (n > CAPACITY) return 0;
  uint32_t end = line_end(0, n), length = 0, headers = 0, at = end + 2;
  if (!starts_with(0, end, "post /echo http/1.1")) return 0;
  for (; at < n; at = end + 2) {
    end = line_end(at, n);
    if (end == at) break;
    headers++;
    if (!starts_with(at, end, "content-length:")) continue;
    for (uint32_t i = at + 15; i < end; i++)
      if (kernel_data[i] >= '0' && kernel_data[i] <= '9') length = length * 10 + kernel_data[i] - '0';
  }
  at += 2;
  if (at > n || length > BODY_MAX || n - at != length) return 0;
  for (uint32_t i = 0; i < length; i++) body[i] = kernel_data[at + i];
  at = put(0, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Headers: ");
  at = put(put_number(at, headers), "\r\nContent-Length: ");
  at = put(put_number(at, length), "\r\n\r\n");
  for (uint32_t i = 0; i < length; i++) kernel_data[at + i] = body[i];
  return at + length;
}
