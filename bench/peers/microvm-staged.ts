import type { Peer } from "./peer.ts";
import { MICROVM, prepareMicroVm, vmAvailable } from "./support/microvm.ts";

export const peer: Peer = {
  ...MICROVM,
  name: "microvm-staged",
  title: "microVM, cold, staged boot",
  order: 10,
  includes:
    "making VM, vCPU and memory; real mode, protected mode, long mode, ring 3; the call; reading the result",
  available: vmAvailable,
  prepare: (program, setting) => prepareMicroVm(program, setting, "staged"),
};
