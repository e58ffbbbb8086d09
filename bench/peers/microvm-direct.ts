import type { Peer } from "./peer.ts";
import { MICROVM, prepareMicroVm, vmAvailable } from "./support/microvm.ts";

export const peer: Peer = {
  ...MICROVM,
  name: "microvm-direct",
  title: "microVM, cold, direct boot",
  order: 11,
  includes: "making VM, vCPU and memory; registers set for ring 3 at once; the call; reading the result",
  available: vmAvailable,
  prepare: (program, setting) => prepareMicroVm(program, setting, "direct"),
};
