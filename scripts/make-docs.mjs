// Writes the pages of docs/ that are made from tables in the sources. `--check` writes nothing and fails if a page is not up to date.
// Needs the compiled sources: npm run build:ts
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);
const { renderPages } = await import(new URL("dist/cli/docs.js", root).href);

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

let stale = 0;
for (const [name, text] of renderPages()) {
  const path = fileURLToPath(new URL(name, root));
  if (read(path) === text) continue;
  stale++;
  if (process.argv.includes("--check")) {
    process.stderr.write(`${name} is not what the sources say; run: node scripts/make-docs.mjs\n`);
  } else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    process.stdout.write(`wrote ${name}\n`);
  }
}
if (stale > 0 && process.argv.includes("--check")) process.exitCode = 1;
