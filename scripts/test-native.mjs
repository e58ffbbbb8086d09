// Builds the addon and WASI's native tests with AddressSanitizer and UBSan; runs the latter. (The addon's own run is a vitest run, see test.mjs.)
import { spawnSync } from "node:child_process";

for (const command of [
  [process.execPath, "scripts/build-native.mjs", "--sanitize"],
  ["build/sanitize/wasi_test"],
]) {
  const { status } = spawnSync(command[0], command.slice(1), { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
