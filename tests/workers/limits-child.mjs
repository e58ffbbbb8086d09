// A process whose limits are low: what it meets, as JSON.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const [scenario, url, imagePath] = process.argv.slice(2);
const { MicroVM, WorkerPool, Image } = await import(url);
const image = await Image.load(imagePath);
const options = { boot: "direct", unknownImports: "default" };
const boot = () => MicroVM.boot(image, options);
const caught = async (run) => {
  try {
    await run();
    return { code: "none", message: "nothing failed" };
  } catch ({ code, message }) {
    return { code, message };
  }
};

const scenarios = {
  async "open files"() {
    const vms = [];
    const error = await caught(async () => {
      while (vms.length < 1000) vms.push(await boot());
    });
    const made = vms.length;
    const answer = await vms[0].call("add", 1, 2);
    for (const vm of vms.splice(1)) vm.dispose();
    const again = await boot();
    return { made, ...error, answer, again: await again.call("add", 3, 4) };
  },
  async "address space"() {
    const vm = await boot();
    const used = Number(/^VmSize:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
    // Less than the address space that one guest's memory reserves, and enough for everything else.
    execFileSync("prlimit", [`--pid=${process.pid}`, `--as=${used + 700_000}`]);
    const error = await caught(() => boot());
    return { ...error, answer: await vm.call("add", 1, 2) };
  },
  async pool() {
    const vm = { unknownImports: "default" };
    const error = await caught(() => new WorkerPool(image, { max: 500, processes: 1, vm }));
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8");
    const pool = new WorkerPool(image, { max: 10, vm });
    const small = await pool.call("add", 1, 2);
    await pool.close();
    return { ...error, children, small };
  },
};
const result = await scenarios[scenario]();
process.stdout.write(JSON.stringify(result));
