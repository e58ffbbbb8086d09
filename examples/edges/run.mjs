// Finds the edges in a picture: node run.mjs in.ppm out.ppm [threshold]
import { readFileSync, writeFileSync } from "node:fs";
import { compile, MicroVM } from "barecell";

const [from, to, threshold = "128"] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write("usage: node run.mjs in.ppm out.ppm [threshold]\n");
  process.exit(2);
}

/** Binary PPM of 8 bits to RGBA. */
function readPpm(bytes) {
  const header = /^P6\s(?:#.*\s)*(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 1024).toString("latin1"));
  if (!header) throw new Error(`${from} is not a binary PPM file of 8 bits`);
  const [width, height] = [Number(header[1]), Number(header[2])];
  const rgb = bytes.subarray(header[0].length);
  if (rgb.length < width * height * 3) throw new Error(`${from} is cut off`);
  const pixels = new Uint8Array(width * height * 4);
  for (let i = 0; i < width * height; i++) pixels.set([...rgb.subarray(i * 3, i * 3 + 3), 255], i * 4);
  return { width, height, pixels };
}

const { width, height, pixels } = readPpm(readFileSync(from));
const image = await compile(new URL("edges.wasm", import.meta.url));
const vm = await MicroVM.boot(image);
try {
  if ((await vm.call("resize", width, height)) !== 1) throw new Error("the picture is too large");
  vm.memory.write(await vm.call("input"), pixels);
  const count = await vm.call("edges", Number(threshold));
  const result = vm.memory.read(await vm.call("output"), pixels.length);
  const rgb = Buffer.alloc(width * height * 3);
  for (let i = 0; i < width * height; i++) rgb.set(result.subarray(i * 4, i * 4 + 3), i * 3);
  writeFileSync(to, Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), rgb]));
  process.stdout.write(`${count} of ${width * height} pixels are edges\n`);
} finally {
  vm.dispose();
}
