// Builds the addon with cmake-js, after naming what is missing for it. `--sanitize` builds the AddressSanitizer/UBSan variant instead.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { requireTools } from "./toolchain.mjs";

requireTools(["c++ compiler", "make", "cmake"]);
const sanitize = process.argv.includes("--sanitize");
const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
const args = sanitize
  ? ["build", "--out", "build/sanitize", "--CDBARECELL_SANITIZE=ON", "--CDCMAKE_BUILD_TYPE=Sanitize"]
  : ["build", "--out", "build", "--CDCMAKE_BUILD_TYPE=Release"];
const run = spawnSync(process.execPath, [cmakeJs, ...args, "--log-level", "warn", "--silent"], {
  stdio: ["ignore", "pipe", "inherit"],
  encoding: "utf8",
});
if (run.status !== 0) {
  // The compiler's own words matter only when it fails, and cmake-js keeps them to itself: what is not built yet, once more and in the open.
  process.stderr.write(run.stdout ?? "");
  const folder = sanitize ? "build/sanitize" : "build";
  if (existsSync(`${folder}/CMakeCache.txt`)) spawnSync("cmake", ["--build", folder], { stdio: "inherit" });
  process.stderr.write("barecell: building the native addon failed; see the messages above\n");
  process.exit(1);
}
