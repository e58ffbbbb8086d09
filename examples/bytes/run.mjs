// Calls `upper` of one of the modules: node run.mjs c|rust|assemblyscript TEXT. The steps are those of docs/guest-convention.md.
import { compile, MicroVM } from "barecell";

const [language = "c", text = "hello, bytes"] = process.argv.slice(2);
const image = await compile(new URL(`${language}/bytes.wasm`, import.meta.url));
const vm = await MicroVM.boot(image);
try {
  if (image.exports.some(({ name }) => name === "_initialize")) await vm.call("_initialize");
  const input = new TextEncoder().encode(text);
  const pointer = (await vm.call("barecell_alloc", input.length)) >>> 0;
  if (pointer === 0) throw new Error("the guest has no memory for the input");
  vm.memory.write(pointer, input);
  const packed = BigInt.asUintN(64, await vm.call("upper", pointer, input.length));
  await vm.call("barecell_free", pointer, input.length);
  const [result, length] = [Number(packed >> 32n), Number(packed & 0xffffffffn)];
  const output = vm.memory.read(result, length);
  if (result !== 0) await vm.call("barecell_free", result, length);
  process.stdout.write(`${new TextDecoder().decode(output)}\n`);
} finally {
  vm.dispose();
}
