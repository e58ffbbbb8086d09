/** A VM that begins where another one, which was booted and instantiated ahead, had come to. */
import { MicroVM } from "barecell";
import type { Peer } from "./peer.ts";
import { bootOptions, imageOf, MICROVM, prepareMicroVm } from "./support/microvm.ts";

export const peer: Peer = {
  ...MICROVM,
  name: "microvm-snapshot",
  title: "microVM, restored snapshot",
  order: 14,
  includes:
    "making VM, vCPU and memory from the snapshot's image; registers set for ring 3 at once; the call; reading the result",
  leavesOut:
    "taking the snapshot, once for each module. These workloads initialise nothing that a snapshot would save, so this is what restoring costs, not what it gains",
  async prepare(program, setting) {
    await using vm = await MicroVM.boot(await imageOf(program, setting), bootOptions(program, "direct"));
    return prepareMicroVm(await vm.snapshot(), program, "direct");
  },
};
