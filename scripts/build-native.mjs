// Builds the addon with cmake-js, after naming what is missing for it. `--sanitize` builds the AddressSanitizer/UBSan variant instead.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { requireTools } from "./toolchain.mjs";

requireTools(["c++ compiler", "make", "cmake"]);
const sanitize = process.argv.includes("--sanitize");
const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
const args = sanitize
  ? ["build", "--out", "build/sanitize", "--CDBARECELL_SANITIZE=ON", "--CDCMAKE_BUILD_TYPE=RelWithDebInfo"]
  : ["build", "--out", "build", "--CDCMAKE_BUILD_TYPE=Release"];
const run = spawnSync(process.execPath, [cmakeJs, ...args, "--log-level", "warn", "--silent"], {
  stdio: ["ignore", "pipe", "inherit"],
  encoding: "utf8",
});
if (run.status !== 0) {
  // The compiler's own words matter only when it fails.
  process.stderr.write(run.stdout ?? "");
  process.stderr.write("barecell: building the native addon failed; see the messages above\n");
  process.exit(1);
}
