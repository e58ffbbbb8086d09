// What the TypeScript compiler leaves undone: the command line must be executable, and what has no source any more must go.
import { chmodSync, existsSync, readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);
const main = fileURLToPath(new URL("dist/cli/main.js", root));
if (existsSync(main)) chmodSync(main, 0o755);

// Peers and workloads of the benchmark are found by looking into their folders: a file that was renamed would take part under both names.
for (const folder of ["bench/peers", "bench/workloads"]) {
  const built = new URL(`dist/${folder}/`, root);
  if (!existsSync(built)) continue;
  for (const name of readdirSync(built)) {
    const stem = /^(.+?)(?:\.d\.ts|\.js|\.js\.map)$/.exec(name)?.[1];
    if (stem !== undefined && !existsSync(new URL(`${folder}/${stem}.ts`, root)))
      rmSync(new URL(name, built));
  }
}
