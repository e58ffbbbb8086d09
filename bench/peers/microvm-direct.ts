import type { Peer } from "./peer.ts";
import { imageOf, MICROVM, prepareMicroVm } from "./support/microvm.ts";

export const peer: Peer = {
  ...MICROVM,
  name: "microvm-direct",
  title: "microVM, cold, direct boot",
  order: 11,
  includes: "making VM, vCPU and memory; registers set for ring 3 at once; the call; reading the result",
  prepare: async (program, setting) => prepareMicroVm(await imageOf(program, setting), program, "direct"),
};
