#!/usr/bin/env node
// Runs a command of this project in a machine with AMD's virtualisation (SVM, nested paging), emulated by QEMU,
// so that /dev/kvm in there is kvm-amd for real. See README.md beside this file.

import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { CannotRunError, EXIT, UsageError } from "./errors.mjs";
import { ensureParts } from "./fetch.mjs";
import { makeInitramfs } from "./initramfs.mjs";
import { runMachine } from "./machine.mjs";

const USAGE = `usage: node tests/svm/run.mjs [options] -- COMMAND [ARGS…]

Runs COMMAND in an emulated machine whose /dev/kvm is kvm-amd with nested paging.

  --timeout SECONDS  deadline for boot and command together (default 300)
  --memory MiB       memory of the machine (default 2048)
  --cwd DIR          working directory of COMMAND (default: the current one)
  --env NAME[=VALUE] a variable for COMMAND; without VALUE, that of the caller; may be repeated
  --verbose          say how long what took

exit status: COMMAND's own; 2 wrong usage, 3 could not run here, 124 deadline passed, 125 the machine died
`;

/** Variables that COMMAND gets from the caller unasked; and all that begin with BARECELL_. */
const PASSED_ON = [
  "PATH",
  "HOME",
  "USER",
  "LANG",
  "LC_ALL",
  "TZ",
  "CI",
  "NO_COLOR",
  "FORCE_COLOR",
  "XDG_CACHE_HOME",
];

/** @param {string[]} argv */
function parse(argv) {
  // Everything behind the first "--" is COMMAND's, unseen by the parser.
  const split = argv.indexOf("--");
  const own = split < 0 ? argv : argv.slice(0, split);
  const command = split < 0 ? [] : argv.slice(split + 1);
  let values;
  try {
    ({ values } = parseArgs({
      args: own,
      options: {
        timeout: { type: "string", default: "300" },
        memory: { type: "string", default: "2048" },
        cwd: { type: "string", default: process.cwd() },
        env: { type: "string", multiple: true, default: [] },
        verbose: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help) return { help: /** @type {const} */ (true) };
  if (command.length === 0) throw new UsageError("no command: it follows a --");
  const cwd = path.resolve(values.cwd);
  if (!fs.statSync(cwd, { throwIfNoEntry: false })?.isDirectory())
    throw new UsageError(`--cwd: ${cwd} is no folder`);
  return {
    help: /** @type {const} */ (false),
    command,
    cwd: fs.realpathSync(cwd),
    env: environment(values.env),
    // setTimeout takes no more than 2^31 ms.
    timeoutMs: number("--timeout", values.timeout, 1, 2_000_000) * 1000,
    memoryMiB: number("--memory", values.memory, 256, 1 << 20),
    verbose: values.verbose,
  };
}

/**
 * @param {string} option
 * @param {string} text
 * @param {number} min
 * @param {number} max
 */
function number(option, text, min, max) {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new UsageError(`${option}: ${text} is no number from ${min} to ${max}`);
  return value;
}

/** @param {readonly string[]} asked */
function environment(asked) {
  /** @type {Record<string, string>} */
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && (PASSED_ON.includes(name) || name.startsWith("BARECELL_"))) env[name] = value;
  }
  for (const entry of asked) {
    const [, name, given] = /^([A-Za-z_]\w*)(?:=(.*))?$/s.exec(entry) ?? [];
    if (name === undefined) throw new UsageError(`--env: ${entry} is not NAME or NAME=VALUE`);
    const value = given ?? process.env[name];
    if (value !== undefined) env[name] = value;
  }
  // So that tests can tell where they are.
  env["BARECELL_SVM"] = "1";
  return env;
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`svm: ${line}\n`);
}

/** @returns {Promise<number>} the exit status */
async function main() {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const parts = ensureParts({ log: say });

  const abort = new AbortController();
  /** @type {NodeJS.Signals | undefined} */
  let caught;
  for (const signal of /** @type {NodeJS.Signals[]} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
    process.on(signal, () => {
      caught ??= signal;
      abort.abort();
    });
  }
  // Nobody reads on (a pager left, head has enough): there is nothing left to run for.
  process.stdout.on("error", () => abort.abort());

  // Unguessable, so that no output of a command is taken for its end.
  const endMark = `\0end ${randomBytes(16).toString("hex")}\n`;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "barecell-svm-"));
  const consoleLog = path.join(folder, "console.log");
  let keep = false;
  try {
    const initramfs = path.join(folder, "initramfs.cpio");
    fs.writeFileSync(initramfs, makeInitramfs(parts, { ...options, endMark }));
    const started = performance.now();
    const outcome = await runMachine({
      ...options,
      parts,
      initramfs,
      consoleLog,
      endMark,
      stdout: process.stdout,
      stderr: process.stderr,
      signal: abort.signal,
    });
    const totalMs = performance.now() - started;
    fs.rmSync(initramfs, { force: true });
    if (options.verbose && outcome.kind === "exit") {
      say(
        `Linux ${parts.release}: boot ${seconds(outcome.bootMs)}, command ${seconds(totalMs - outcome.bootMs)}`,
      );
    }
    keep = outcome.kind !== "exit" && outcome.kind !== "aborted";
    return report(outcome, options.timeoutMs, caught);
  } finally {
    keep &&= fs.existsSync(consoleLog) && fs.statSync(consoleLog).size > 0;
    if (keep) {
      say(
        `its last messages (all of them: ${consoleLog}):\n${fs.readFileSync(consoleLog, "utf8").trimEnd().split("\n").slice(-40).join("\n")}`,
      );
    } else {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }
}

/**
 * Says what there is to say of the end of a run.
 * @param {import("./machine.mjs").Outcome} outcome
 * @param {number} timeoutMs
 * @param {NodeJS.Signals | undefined} caught the signal that ended it
 * @returns {number} the exit status
 */
function report(outcome, timeoutMs, caught) {
  switch (outcome.kind) {
    case "exit":
      return outcome.status;
    case "aborted":
      return 128 + os.constants.signals[caught ?? "SIGPIPE"];
    case "refused":
      say(`cannot run here: ${outcome.reason}`);
      return EXIT.cannotRun;
    case "deadline":
      say(`not done after ${seconds(timeoutMs)}${outcome.ready ? "" : ", and still booting"}: stopped`);
      return EXIT.deadline;
    case "lost":
      say(
        `${outcome.ready ? "the machine died under the command" : "cannot run here: the machine did not start"}: ${outcome.reason}`,
      );
      return outcome.ready ? EXIT.machineLost : EXIT.cannotRun;
  }
}

/** @param {number} ms */
function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (error instanceof UsageError) {
    process.stderr.write(`svm: ${error.message}\n\n${USAGE}`);
    process.exitCode = EXIT.usage;
  } else if (error instanceof CannotRunError) {
    say(`cannot run here: ${error.message}`);
    process.exitCode = EXIT.cannotRun;
  } else {
    throw error;
  }
}
