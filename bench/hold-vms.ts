/** A process that holds idle VMs which are ready for their next call: each order says how many more to make. Started by the scenario `density`. */
import { Image, MicroVM } from "barecell";
import { answerOrders } from "./helper-orders.ts";
import { type Call, callOnce } from "./subject.ts";

const [path = "", call = ""] = process.argv.slice(2);
const image = await Image.load(path);
const known = JSON.parse(call) as Call;
const held: MicroVM[] = [];

await answerOrders((more) => {
  for (let i = 0; i < more; i++) {
    const vm = MicroVM.bootSync(image, { boot: "direct" });
    callOnce(vm, known);
    vm.resetSync();
    held.push(vm);
  }
  // What making them left behind is not what an idle VM needs.
  globalThis.gc?.();
  return String(held.length);
});
