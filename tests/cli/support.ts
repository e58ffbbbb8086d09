/** Runs the built command line as users do, and sees to it that nothing is left behind. */
import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect } from "vitest";
import { announceSkip } from "../support/environment.ts";
import { wat } from "../support/modules.ts";

export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));
export const MAIN: string = join(ROOT, "dist/cli/main.js");
export const HELLO: string = join(ROOT, "examples/hello/hello.wasm");
export const ADD: string = join(ROOT, "examples/add/add.wasm");

if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing; build it with: npm run build:ts`);

/** A folder for the files of one test file. */
export const WORK: string = mkdtempSync(join(tmpdir(), "barecell-cli-test-"));
/** A cache that the runs of one test file share, so that only the first compiles. */
export const CACHE: string = join(WORK, "shared-cache");
afterAll(() => rmSync(WORK, { recursive: true, force: true }));

let counter = 0;
/** A new empty folder. */
export function newFolder(): string {
  const folder = join(WORK, `folder${counter++}`);
  mkdirSync(folder);
  return folder;
}

/** A file in a new folder. */
export function newFile(name: string, content: string | Uint8Array): string {
  const path = join(newFolder(), name);
  writeFileSync(path, content);
  return path;
}

/** A module of WebAssembly text. */
export function newModule(text: string, name = "test"): string {
  return newFile(`${name}.wasm`, wat(name, text));
}

/** An executable shell script. */
export function newScript(text: string): string {
  const path = join(newFolder(), "script");
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}

export interface CliResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
  readonly cwd?: string;
  /** Put before the command: a shell that changes what the command sees. */
  readonly prefix?: readonly string[];
  /** Called when the process runs. */
  readonly onStart?: (kill: (signal: NodeJS.Signals) => void, temporary: string) => void;
}

/** Runs the command, and checks that no temporary file and no process is left. */
export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const temporary = newFolder();
  const mark = randomUUID();
  const [program = "", ...rest] = [...(options.prefix ?? []), process.execPath, MAIN, ...args];
  const child = spawn(program, rest, {
    cwd: options.cwd ?? WORK,
    env: {
      PATH: process.env["PATH"],
      BARECELL_ADDON: process.env["BARECELL_ADDON"],
      XDG_CACHE_HOME: CACHE,
      TMPDIR: temporary,
      TEST_MARK: mark,
      ...options.env,
    },
  });
  child.stdin.on("error", () => {
    // A program that does not read its input ends before it is written.
  });
  child.stdin.end(options.stdin ?? "");
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  options.onStart?.((signal) => child.kill(signal), temporary);
  const result = await new Promise<CliResult>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
  await expectNoProcess(mark);
  expect(readdirSync(temporary), "temporary files are left").toEqual([]);
  expect(stderr, "a stack trace for users").not.toMatch(/^\s+at .*(file:|node:)/m);
  return result;
}

/** A process that was killed is gone a moment later. */
async function expectNoProcess(mark: string): Promise<void> {
  const deadline = Date.now() + 3000;
  while (processesWith(mark).length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(processesWith(mark), "processes are left").toEqual([]);
}

function processesWith(mark: string): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      // Empty for those that have ended and only wait for somebody to ask how.
      return readFileSync(`/proc/${name}/environ`, "utf8").includes(mark);
    } catch {
      return false;
    }
  });
}

/** The object on the last line of standard output. */
export function jsonOf(result: CliResult): Record<string, unknown> {
  const lines = result.stdout.split("\n");
  expect(lines.at(-1), "the last line is not ended").toBe("");
  return JSON.parse(lines.at(-2) ?? "") as Record<string, unknown>;
}

/** Runs a command that must fail in the same way for people and for programs. @returns what people are told */
export async function failure(
  args: readonly string[],
  code: string,
  status: number,
  options: CliOptions = {},
): Promise<string> {
  const [command = "", ...rest] = args;
  const cache = newFolder();
  const env = { XDG_CACHE_HOME: cache, ...options.env };
  const human = await cli(args, { ...options, env });
  expect(human.stderr).toContain(`code: ${code}\n`);
  expect(human.stderr).toContain("cure: ");
  expect(human.status, human.stderr).toBe(status);
  expect(human.stdout).toBe("");
  const machine = await cli([command, "--json", ...rest], { ...options, env });
  expect(machine.status).toBe(status);
  expect(jsonOf(machine)).toEqual({ ok: false, error: { code, message: expect.any(String) } });
  expect(machine.stderr).toBe("");
  const left = readdirSync(cache, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(
    left.map(({ name }) => name).filter((name) => !/^[0-9a-f]{64}\.(cell|runtime)$/.test(name)),
    "the cache holds what is no image",
  ).toEqual([]);
  return human.stderr;
}

/** Whether tests may change what a process sees of the machine. */
export const canUnshare: boolean =
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0;
if (!canUnshare) announceSkip("command line on changed machines", "needs root and mount namespaces");

/** For `CliOptions.prefix`: runs shell commands in a mount namespace of its own, then the command. */
export function inNamespace(setup: string, after = ""): string[] {
  return [
    "unshare",
    "--mount",
    "sh",
    "-c",
    `set -e\n${setup}\nset +e\n"$@"\nstatus=$?\n${after}\nexit $status`,
    "sh",
  ];
}
