/*
 * The first process of a guest that has a Linux kernel: /init N INPUT_BYTES run|hold, as the kernel passes on what its command
 * line has behind "--". Makes the first serial port the standard streams of /program (main.c with a kernel of the workloads), says that
 * the input may come, runs it with the same arguments, and ends the machine. Nothing is mounted: the few files are those of the initramfs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* bench/peers/support/linux-guest.ts waits for this line; the kernel's own messages may come before it. */
#define READY "guest: ready\n"

/* The machine ends with its first process, one way or the other; the monitor is told not to start it again. */
__attribute__((noreturn)) static void end_machine(void) {
  tcdrain(1);
  reboot(RB_AUTOBOOT);
  _exit(1);
}

__attribute__((noreturn)) static void fail(const char *what) {
  dprintf(1, "guest: %s: %m\n", what);
  end_machine();
}

int main(int argc, char **argv) {
  int port = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  if (port < 0) end_machine(); /* The kernel's console may be there all the same, and says how the machine ended. */
  struct termios terminal;
  if (tcgetattr(port, &terminal) == 0) {
    /* Bytes are bytes: no echo, no line ends made of others. Monitors make the guest wait as long as the speed says, so it is the highest. */
    cfmakeraw(&terminal);
    cfsetspeed(&terminal, B115200);
    tcsetattr(port, TCSANOW, &terminal);
  }
  for (int stream = 0; stream < 3; stream++) dup2(port, stream);
  if (argc != 4) fail("three arguments were expected");
  if (write(1, READY, strlen(READY)) < 0) end_machine();
  pid_t child = vfork();
  if (child == 0) {
    argv[0] = "/program";
    execv(argv[0], argv);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) fail("cannot start the program");
  if (WIFSIGNALED(status)) dprintf(1, "guest: the program was killed by signal %d\n", WTERMSIG(status));
  else if (WEXITSTATUS(status) != 0) dprintf(1, "guest: the program ended with status %d\n", WEXITSTATUS(status));
  end_machine();
}
