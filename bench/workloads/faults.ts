/** Functions that misbehave, for the tests of what that does to the host. No workloads: nobody measures how fast they are. */
import type { Workload } from "./workload.ts";

export const crash: Workload = {
  name: "crash",
  title: "writes where nothing is",
  order: 0,
  wasm: "workloads/wasm/crash.wasm",
  source: "workloads/c/crash.c",
  n: 0,
  expected: 0,
};

export const spin: Workload = {
  name: "spin",
  title: "never comes back",
  order: 0,
  wasm: "workloads/wasm/spin.wasm",
  source: "workloads/c/spin.c",
  n: 1,
  expected: 0,
};
