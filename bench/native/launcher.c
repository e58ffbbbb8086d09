/*
 * Starts a command again and again and times it, with nothing in between but posix_spawn(), two pipes and waitpid(): the least that a
 * program which hands functions to processes or containers must do, so that these are not charged for anything of Node's.
 *
 *   launcher [--input FILE] [--number] [--ready LINE] [--stop COMMAND… ";"] [--after COMMAND… ";"] -- COMMAND…
 *
 * In every command `{id}` becomes a name that is new for each start, and `{mode}` becomes `run` or `hold`. COMMAND is expected to
 * write what main.c writes, with --number a number alone, as runtimes print a result. --stop ends a start that took too long (without it: SIGKILL); --after clears up after one that did not end by
 * itself. With --ready, COMMAND is a machine that has to boot: it writes LINE when it may be given its input, which would be lost before; what it
 * writes until then is no part of the answer; it does not end when its input does. Orders come on standard input, one a line, and each is
 * answered by one line of JSON:
 *
 *   run LIMIT_US     one start; is stopped after LIMIT_US, if that is not 0
 *   loop FOR_US      one after the other for that long; how many came to their end
 *   hold COUNT       COUNT starts that have answered and stay;   release   ends them
 *
 * When standard input ends, everything that still runs is stopped and cleared up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS 128
#define OUTPUT_CAPACITY 32768
#define MAX_HELD 1024
/* Of what a start without a result wrote, to say why. */
#define SAID_KEPT 1024
/* How long a start that was told to stop may take to do so. */
#define GRACE_US 10e6
/* A container can be told to end only when it has begun: until it is gone it is told again. */
#define TELL_AGAIN_US 20e3

extern char **environ;

struct command {
  char *words[MAX_WORDS];
  int count;
};

static struct command start_command, stop_command, after_command;
static uint8_t input[OUTPUT_CAPACITY];
static size_t input_bytes;
static bool number_only;
static const char *ready_line; /* NULL: the input may come at once */

struct instance {
  char id[64];
  pid_t pid;
  int in, out; /* our ends of its standard streams; -1 when closed */
  double began_us;
  char output[OUTPUT_CAPACITY];
  size_t output_bytes;
  bool is_ready;    /* has its input */
  bool keeps_input; /* its input stays open afterwards */
  double ready_us;  /* when it wrote the line that it is ready with; below 0: there is none */
};

struct answer {
  double ready_us, result_us, end_us, stop_us; /* since the start; ready_us and stop_us below 0: not known */
  unsigned long result;
  size_t body_at, body_bytes;
  bool has_result, was_stopped, still_runs;
  int status;
};

__attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "launcher: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* `word` with `{id}` and `{mode}` put in; lives until the process ends its turn (freed by free_words). */
static char *filled(const char *word, const char *id, const char *mode) {
  char *text = malloc(strlen(word) + 256);
  if (text == NULL) die("no memory");
  char *to = text;
  while (*word != 0) {
    const char *with = strncmp(word, "{id}", 4) == 0 ? id : strncmp(word, "{mode}", 6) == 0 ? mode : NULL;
    if (with == NULL || (size_t)(to - text) + strlen(with) + strlen(word) > strlen(word) + 256) {
      *to++ = *word++;
      continue;
    }
    to = stpcpy(to, with);
    word += with == id ? 4 : 6;
  }
  *to = 0;
  return text;
}

static void fill(const struct command *command, char **words, const char *id, const char *mode) {
  for (int i = 0; i < command->count; i++) words[i] = filled(command->words[i], id, mode);
  words[command->count] = NULL;
}

static void free_words(char **words) {
  for (; *words != NULL; words++) free(*words);
}

/* Runs a command to its end, quietly. */
static void run_quietly(const struct command *command, const char *id) {
  if (command->count == 0) return;
  char *words[MAX_WORDS + 1];
  fill(command, words, id, "run");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid;
  if (posix_spawnp(&pid, words[0], &actions, NULL, words, environ) == 0) waitpid(pid, NULL, 0);
  posix_spawn_file_actions_destroy(&actions);
  free_words(words);
}

static void give_input(struct instance *instance) {
  instance->is_ready = true;
  if (input_bytes > 0 && write(instance->in, input, input_bytes) < 0 && errno != EPIPE) die("write");
  if (instance->keeps_input) return;
  close(instance->in);
  instance->in = -1;
}

static void start(struct instance *instance, const char *mode) {
  static unsigned counter;
  snprintf(instance->id, sizeof instance->id, "barecell-bench-%d-%u", (int)getpid(), counter++);
  char *words[MAX_WORDS + 1];
  fill(&start_command, words, instance->id, mode);
  int in[2], out[2];
  posix_spawn_file_actions_t actions;
  instance->output_bytes = 0;
  instance->is_ready = false;
  /* A monitor may have something to say about an end, in the middle of the guest's words. */
  instance->keeps_input = strcmp(mode, "hold") == 0 || ready_line != NULL;
  instance->ready_us = -1;
  instance->began_us = now_us();
  if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) die("pipe");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  int error = posix_spawnp(&instance->pid, words[0], &actions, NULL, words, environ);
  if (error != 0) {
    errno = error;
    die(words[0]);
  }
  close(in[0]);
  close(out[1]);
  instance->in = in[1];
  instance->out = out[0];
  if (ready_line == NULL) give_input(instance);
  posix_spawn_file_actions_destroy(&actions);
  free_words(words);
}

/* Drops what came before the answer: the line, when it is there, and otherwise all but the end of what fills the room. */
static void look_for_ready(struct instance *instance) {
  const char *line = memmem(instance->output, instance->output_bytes, ready_line, strlen(ready_line));
  size_t drop = 0;
  if (line != NULL) {
    drop = (size_t)(line - instance->output) + strlen(ready_line);
    instance->ready_us = now_us() - instance->began_us;
    give_input(instance);
  } else if (instance->output_bytes > OUTPUT_CAPACITY / 2) {
    drop = instance->output_bytes - OUTPUT_CAPACITY / 4;
  }
  instance->output_bytes -= drop;
  memmove(instance->output, instance->output + drop, instance->output_bytes);
  instance->output[instance->output_bytes] = 0;
}

/* Whether all of the answer is there. */
static bool parse(const struct instance *instance, struct answer *answer) {
  if (!instance->is_ready) return false;
  const char *end = memchr(instance->output, '\n', instance->output_bytes);
  if (end == NULL) return false;
  if (number_only) {
    long long value;
    if (sscanf(instance->output, "%lld", &value) != 1) return false;
    *answer = (struct answer){.ready_us = -1, .stop_us = -1, .status = -1, .result = (uint32_t)value};
    return true;
  }
  long long began_ns;
  unsigned long result, length;
  if (sscanf(instance->output, "%lld %lu %lu", &began_ns, &result, &length) != 3) return false;
  size_t body = (size_t)(end + 1 - instance->output);
  if (length > instance->output_bytes - body) return false;
  answer->body_at = body;
  answer->body_bytes = length;
  answer->result = result;
  /* A machine of its own has a clock of its own. */
  answer->ready_us = instance->ready_us >= 0 ? instance->ready_us : (double)began_ns / 1e3 - instance->began_us;
  return true;
}

/* Reads what there is. False at the end: then nobody holds the other end any more. */
static bool read_some(struct instance *instance) {
  size_t room = sizeof instance->output - 1 - instance->output_bytes;
  char rest[512];
  ssize_t got = room > 0 ? read(instance->out, instance->output + instance->output_bytes, room) : read(instance->out, rest, sizeof rest);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (got <= 0) return false;
  if (room > 0) instance->output_bytes += (size_t)got;
  instance->output[instance->output_bytes] = 0;
  return true;
}

static void stop(const struct instance *instance) {
  if (stop_command.count > 0) run_quietly(&stop_command, instance->id);
  else kill(instance->pid, SIGKILL);
}

/*
 * Follows a start to its end. With `until_result` only until it has answered.
 * @param limit_us after which it is stopped; 0 for none
 */
static void follow(struct instance *instance, double limit_us, bool until_result, struct answer *answer) {
  *answer = (struct answer){.ready_us = -1, .stop_us = -1, .status = -1};
  double stopped_at = 0, told_at = 0;
  for (;;) {
    /* Standard input is looked at too: if it ends, nobody waits for this any more. */
    struct pollfd ends[2] = {{.fd = instance->out, .events = POLLIN}, {.fd = 0, .events = 0}};
    int wait_ms = -1;
    if (stopped_at > 0 || limit_us > 0) {
      double left = stopped_at > 0 ? told_at + TELL_AGAIN_US - now_us() : instance->began_us + limit_us - now_us();
      wait_ms = left <= 0 ? 0 : (int)(left / 1000) + 1;
    }
    int ready = poll(ends, 2, wait_ms);
    if (ready < 0 && errno != EINTR) die("poll");
    bool nobody = ready > 0 && (ends[1].revents & (POLLHUP | POLLERR)) != 0 && (ends[0].revents == 0);
    if (ready > 0 && ends[0].revents != 0) {
      bool more = read_some(instance);
      if (!instance->is_ready) look_for_ready(instance);
      if (!answer->has_result && parse(instance, answer)) {
        answer->result_us = now_us() - instance->began_us;
        answer->has_result = true;
        if (until_result) return;
      }
      if (!more) break;
      continue;
    }
    if (stopped_at > 0) {
      if (now_us() >= stopped_at + GRACE_US) {
        answer->still_runs = true;
        break;
      }
      if (now_us() >= told_at + TELL_AGAIN_US) {
        stop(instance);
        told_at = now_us();
      }
      continue;
    }
    if (nobody || (limit_us > 0 && now_us() >= instance->began_us + limit_us)) {
      stopped_at = now_us();
      answer->was_stopped = true;
      stop(instance);
      told_at = now_us();
      limit_us = 0;
    }
  }
  close(instance->out);
  if (instance->in >= 0) close(instance->in);
  instance->in = instance->out = -1;
  if (answer->still_runs) kill(instance->pid, SIGKILL);
  while (waitpid(instance->pid, &answer->status, 0) < 0 && errno == EINTR) continue;
  double now = now_us();
  answer->end_us = now - instance->began_us;
  if (stopped_at > 0) answer->stop_us = now - stopped_at;
  /* What ended by itself, and well, has cleared up by itself. */
  if (answer->was_stopped || !WIFEXITED(answer->status) || WEXITSTATUS(answer->status) != 0) run_quietly(&after_command, instance->id);
}

static void print_answer(const struct instance *instance, const struct answer *answer) {
  printf("{\"hasResult\":%s,\"result\":%lu,\"readyUs\":%.3f,\"resultUs\":%.3f,\"endUs\":%.3f,\"stopUs\":%.3f,\"stopped\":%s,\"stillRuns\":%s,",
         answer->has_result ? "true" : "false", answer->result, answer->ready_us, answer->result_us, answer->end_us, answer->stop_us,
         answer->was_stopped ? "true" : "false", answer->still_runs ? "true" : "false");
  printf("\"exit\":%d,\"signal\":%d,\"output\":\"", WIFEXITED(answer->status) ? WEXITSTATUS(answer->status) : -1,
         WIFSIGNALED(answer->status) ? WTERMSIG(answer->status) : 0);
  for (size_t i = 0; answer->has_result && i < answer->body_bytes; i++)
    printf("%02x", (uint8_t)instance->output[answer->body_at + i]);
  printf("\",\"said\":\"");
  if (!answer->has_result) {
    size_t from = instance->output_bytes > SAID_KEPT ? instance->output_bytes - SAID_KEPT : 0;
    for (size_t i = from; i < instance->output_bytes; i++) printf("%02x", (uint8_t)instance->output[i]);
  }
  printf("\"}\n");
}

static struct instance *held[MAX_HELD];
static int held_count;

static void release(void) {
  for (int i = 0; i < held_count; i++) {
    close(held[i]->in);
    held[i]->in = -1;
  }
  /* A machine does not see that its input has ended: it is stopped at once. */
  double patience_us = ready_line == NULL ? GRACE_US : 0;
  for (int i = 0; i < held_count; i++) {
    struct answer answer;
    follow(held[i], now_us() - held[i]->began_us + patience_us, false, &answer);
    free(held[i]);
  }
  held_count = 0;
}

static bool obey(const char *order) {
  long count;
  double us;
  struct answer answer;
  if (sscanf(order, "run %lf", &us) == 1) {
    struct instance instance;
    start(&instance, "run");
    follow(&instance, us, false, &answer);
    print_answer(&instance, &answer);
    return true;
  }
  if (sscanf(order, "loop %lf", &us) == 1) {
    double began = now_us();
    long done = 0;
    while (now_us() - began < us) {
      struct instance instance;
      start(&instance, "run");
      follow(&instance, GRACE_US, false, &answer);
      if (!answer.has_result || answer.was_stopped) break;
      done++;
    }
    printf("{\"requests\":%ld,\"elapsedUs\":%.3f,\"failed\":%s}\n", done, now_us() - began, answer.has_result ? "false" : "true");
    return true;
  }
  if (sscanf(order, "hold %ld", &count) == 1 && count > 0 && count <= MAX_HELD && held_count == 0) {
    bool ok = true;
    for (long i = 0; ok && i < count; i++) {
      struct instance *instance = malloc(sizeof *instance);
      if (instance == NULL) die("no memory");
      start(instance, "hold");
      follow(instance, GRACE_US, true, &answer);
      ok = answer.has_result && !answer.was_stopped;
      if (ok) held[held_count++] = instance;
      else free(instance);
    }
    if (!ok) release();
    printf("{\"held\":%d}\n", held_count);
    return true;
  }
  if (strncmp(order, "release", 7) == 0) {
    release();
    printf("{\"held\":0}\n");
    return true;
  }
  return false;
}

static char **take_command(char **at, struct command *command, const char *end) {
  for (; *at != NULL && (end == NULL || strcmp(*at, end) != 0); at++) {
    if (command->count == MAX_WORDS) exit(2);
    command->words[command->count++] = *at;
  }
  return *at == NULL ? at : at + 1;
}

int main(int argc, char **argv) {
  (void)argc;
  char **at = argv + 1;
  while (*at != NULL) {
    if (strcmp(*at, "--stop") == 0) {
      at = take_command(at + 1, &stop_command, ";");
    } else if (strcmp(*at, "--after") == 0) {
      at = take_command(at + 1, &after_command, ";");
    } else if (strcmp(*at, "--number") == 0) {
      number_only = true;
      at++;
    } else if (strcmp(*at, "--ready") == 0 && at[1] != NULL) {
      ready_line = at[1];
      at += 2;
    } else if (strcmp(*at, "--input") == 0 && at[1] != NULL) {
      int file = open(at[1], O_RDONLY | O_CLOEXEC);
      ssize_t got = file < 0 ? -1 : read(file, input, sizeof input);
      if (got < 0) die(at[1]);
      input_bytes = (size_t)got;
      close(file);
      at += 2;
    } else if (strcmp(*at, "--") == 0) {
      at = take_command(at + 1, &start_command, NULL);
    } else {
      break;
    }
  }
  if (*at != NULL || start_command.count == 0) {
    fputs("usage: launcher [--input FILE] [--number] [--ready LINE] [--stop COMMAND… \";\"] [--after COMMAND… \";\"] -- COMMAND…\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  /* One order at a time, byte by byte: a buffer would hide the next from poll(). */
  char order[256];
  size_t length = 0;
  char byte;
  while (read(0, &byte, 1) == 1) {
    if (byte != '\n') {
      if (length < sizeof order - 1) order[length++] = byte;
      continue;
    }
    order[length] = 0;
    length = 0;
    if (!obey(order)) return 2;
    fflush(stdout);
  }
  release();
  return 0;
}
