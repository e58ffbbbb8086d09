// Builds the native tests and the addon with AddressSanitizer and UBSan; runs the former. (The addon's own run is a vitest run, see test.mjs.)
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { requireTools } from "./toolchain.mjs";

requireTools(["c++ compiler", "make", "cmake"]);
mkdirSync("build/native-tests", { recursive: true });

function step(command) {
  const status = spawnSync(command[0], command.slice(1), { stdio: "inherit" }).status;
  if (status !== 0) process.exit(status ?? 1);
}

const sources = ["native/tests", "native/wasi"].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".cc"))
    .map((name) => `${folder}/${name}`),
);
step([
  process.env.CXX ?? "g++",
  ...[
    "-std=c++20",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
  ],
  ...["-Inative", "-Iguest-stubs", ...sources, "native/guest_output.cc", "native/host_limits.cc", "-lutil"],
  ...["-o", "build/native-tests/wasi_test"],
]);
step(["build/native-tests/wasi_test"]);
step([process.execPath, "scripts/build-native.mjs", "--sanitize"]);
