// Calling the host's own tools.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

/**
 * @param {string} tool
 * @param {NodeJS.ProcessEnv} env
 * @returns {string | undefined}
 */
export function which(tool, env) {
  for (const folder of (env["PATH"] ?? "").split(":").filter(Boolean)) {
    const file = path.join(folder, tool);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {
      // Not here: the next folder.
    }
  }
  return undefined;
}

/**
 * @param {string} tool
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {string} [cwd]
 */
export function run(tool, args, env, cwd) {
  // LC_ALL: the output is read, so it must not be translated.
  return spawnSync(tool, args, {
    cwd,
    env: { ...env, LC_ALL: "C" },
    encoding: "utf8",
    maxBuffer: 1 << 26,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** @param {import("node:child_process").SpawnSyncReturns<string>} result */
export function lastLine(result) {
  const lines = `${result.stdout ?? ""}\n${result.stderr ?? ""}`
    .split("\n")
    .filter((line) => line.trim() !== "");
  // apt begins its errors with "E:"; anything else that it says after them is advice.
  return (
    lines.find((line) => line.startsWith("E:")) ??
    lines.at(-1) ??
    result.error?.message ??
    `exit ${result.status}`
  );
}

/** @param {unknown} error */
export function message(error) {
  return error instanceof Error ? error.message : String(error);
}
