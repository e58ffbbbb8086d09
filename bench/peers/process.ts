/** A process for each request, started in the cheapest way there is. */
import type { Peer } from "./peer.ts";
import { prepareLaunched, programArguments } from "./support/launched.ts";
import { native } from "./support/native.ts";

export const peer: Peer = {
  ...native("no namespaces, no filter, the rights of the caller"),
  name: "process",
  title: "child process (posix_spawn from C)",
  order: 0,
  wall: "process",
  includes:
    "pipes, posix_spawn (vfork and exec) of a static program, the call, writing the result to the pipe",
  leavesOut: "any restriction of what the process may do",
  prepare: (program, setting) =>
    prepareLaunched(program, setting, { start: [program.programPath ?? "", ...programArguments(program)] }),
};
