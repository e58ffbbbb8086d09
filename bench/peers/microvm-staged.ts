import type { Peer } from "./peer.ts";
import { imageOf, MICROVM, prepareMicroVm } from "./support/microvm.ts";

export const peer: Peer = {
  ...MICROVM,
  name: "microvm-staged",
  title: "microVM, cold, staged boot",
  order: 10,
  includes:
    "making VM, vCPU and memory; real mode, protected mode, long mode, ring 3; the call; reading the result",
  prepare: async (program, setting) => prepareMicroVm(await imageOf(program, setting), program, "staged"),
};
