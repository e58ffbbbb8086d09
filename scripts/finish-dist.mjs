// What the TypeScript compiler leaves undone: the command line must be executable.
import { chmodSync, existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
if (existsSync(main)) chmodSync(main, 0o755);
