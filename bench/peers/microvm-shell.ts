/** A VM that was booted before its request came, is used for this one, and disposed. */
import { MicroVM } from "barecell";
import type { Peer, Prepared, Program, Setting } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { addressOfData, bootOptions, callIn, imageOf, MICROVM } from "./support/microvm.ts";

async function prepare(program: Program, setting: Setting): Promise<Prepared> {
  const image = await imageOf(program, setting);
  const dataAt = addressOfData(image, program);
  const boot = (): MicroVM => MicroVM.bootSync(image, bootOptions(program, "direct"));
  let ahead: MicroVM | undefined = boot();
  return {
    async request(limitMs) {
      const vm = ahead ?? boot();
      ahead = undefined;
      try {
        const begin = nowUs();
        const answer = callIn(vm, program, dataAt, limitMs);
        const resultUs = nowUs() - begin;
        vm.dispose();
        return { readyUs: 0, resultUs, endUs: nowUs() - begin, ...answer };
      } finally {
        vm.dispose();
        // For the next request, when nobody waits; a loop of requests has it in its time.
        ahead = boot();
      }
    },
    async hold(count) {
      const vms = Array.from({ length: count }, boot);
      for (const vm of vms) callIn(vm, program, dataAt, undefined);
      return async () => {
        for (const vm of vms) vm.dispose();
      };
    },
    async dispose() {
      ahead?.dispose();
      ahead = undefined;
    },
  };
}

export const peer: Peer = {
  ...MICROVM,
  isAhead: true,
  name: "microvm-shell",
  title: "microVM, booted ahead, used once",
  order: 12,
  includes: "the call in a VM that waits in ring 3 and that nobody has used; reading the result",
  leavesOut:
    "compiling the module; booting the VM, which was done before the request came (throughput includes it, and the disposal). A VM that waits holds memory",
  prepare,
};
