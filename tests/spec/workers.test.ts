/** Files in processes of their own, and the command line. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CI_FILES } from "./ci-files.ts";
import { collectFiles, PROJECT, type SpecFile } from "./files.ts";
import type { FileResult, Report } from "./report.ts";
import { runFiles } from "./workers.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "barecell-spec-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("workers", () => {
  const files = (...names: string[]): SpecFile[] =>
    names.map((name) => ({ path: name, name, kind: "script" }));
  const run = async (names: string[], jobs: number): Promise<FileResult[]> => {
    const shown: string[] = [];
    const results = await runFiles(files(...names), {
      jobs,
      deadlineMs: 1500,
      modulesPerImage: 1,
      strict: false,
      targetCpu: "host",
      worker: fixture("broken-worker.mjs"),
      onResult: ({ file }) => shown.push(file),
      onProgress: () => {},
    });
    expect(shown).toEqual(names);
    return results;
  };
  const lastReason = (result: FileResult | undefined): string | undefined => result?.entries.at(-1)?.reason;

  it("that die are failures of their file, and the others go on", async () => {
    const results = await run(["exits", "good", "dies", "good"], 2);
    expect(results.map(({ entries }) => entries.map(({ outcome }) => outcome))).toEqual([
      ["passed", "failed"],
      ["passed"],
      ["passed", "failed"],
      ["passed"],
    ]);
    expect(lastReason(results[0])).toBe("the worker exited with status 7, after line 5 (module): last words");
    expect(lastReason(results[2])).toBe("the worker was ended by SIGKILL, after line 6 (module)");
  });

  it("that do not end are ended", async () => {
    const results = await run(["hangs", "sleeps"], 2);
    expect(lastReason(results[0])).toBe("the worker did not end in 1.5 s, after line 8 (module)");
    expect(lastReason(results[1])).toBe(
      "the worker did not end in 1.5 s, after line 9 (compiling 3 modules)",
    );
  });
});

describe("files", () => {
  it("are found in folders and named without the machine's paths", () => {
    const found = collectFiles([fixture("")]);
    expect(found.map(({ name }) => name)).toContain("fixtures/representative.wast");
    expect(collectFiles([fixture("wrong.wast")])).toMatchObject([{ name: "wrong.wast", kind: "script" }]);
  });

  it("that are not there, or not what they should be, are said", () => {
    expect(() => collectFiles([join(folder, "nothing")])).toThrow(/no file or folder/);
    expect(() => collectFiles([folder])).toThrow(/no .wast or .wasm file/);
    expect(() => collectFiles([fixture("broken-worker.mjs")])).toThrow(/neither a .wast nor a .wasm file/);
  });

  it("of the choice are named once", () => {
    expect(new Set(CI_FILES).size).toBe(CI_FILES.length);
  });
});

describe("the command line", () => {
  interface Ended {
    readonly status: number;
    readonly stdout: string;
    readonly stderr: string;
  }
  const main = join(PROJECT, "build", "spec", "main.js");
  const spec = async (...args: string[]): Promise<Ended> => {
    try {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [main, ...args], {
        cwd: folder,
      });
      return { status: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { status: code, stdout, stderr };
    }
  };

  beforeAll(() => {
    const tsc = join(PROJECT, "node_modules", "typescript", "bin", "tsc");
    execFileSync(process.execPath, [tsc, "-p", join(PROJECT, "tests", "spec", "tsconfig.json")]);
  });

  it("runs scripts in VMs and reports every command", async () => {
    const json = join(folder, "report.json");
    const { status, stdout, stderr } = await spec(fixture("representative.wast"), "--json", json);
    expect(stdout).toBe(
      "representative.wast: passed 66, failed 0, skipped 0\n66 passed, 0 failed, 0 skipped\n",
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(report.assertions).toHaveLength(66);
    expect(report.assertions[1]).toEqual({
      file: "representative.wast",
      line: 17,
      kind: "assert_return",
      outcome: "passed",
      reason: "",
    });
    expect(readFileSync(json, "utf8")).not.toContain(PROJECT);
  });

  it("finds everything that is wrong", async () => {
    const json = join(folder, "wrong.json");
    const { status, stdout } = await spec(fixture("wrong.wast"), "--json", json);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^1 passed, 47 failed, 0 skipped$/m);
    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    const passed = report.assertions.filter(({ outcome }) => outcome !== "failed");
    expect(passed.map(({ line, kind }) => [line, kind])).toEqual([[3, "module"]]);
    expect(report.assertions.filter(({ reason }) => reason === "")).toEqual(passed);
  });

  it("skips what is refused by name, unless it shall not", async () => {
    const lenient = await spec(fixture("later.wast"));
    expect(lenient.stdout).toContain("later.wast: passed 2, failed 0, skipped 13 (7 refused: multi-memory; ");
    expect(lenient.status).toBe(0);
    const strict = await spec("--strict", fixture("later.wast"));
    expect(strict.stdout).toMatch(/^2 passed, 11 failed, 2 skipped$/m);
    expect(strict.status).toBe(1);
  });

  it("takes fields without a module, and modules without a script", async () => {
    const module = join(folder, "empty.wasm");
    writeFileSync(module, Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    const broken = join(folder, "broken.wasm");
    writeFileSync(broken, "\0asm");
    const { status, stdout } = await spec(fixture("fields.wast"), module, broken);
    expect(stdout.split("\n").slice(0, 4)).toEqual([
      "fields.wast: passed 1, failed 0, skipped 0",
      "empty.wasm: passed 1, failed 0, skipped 0",
      "broken.wasm: passed 1, failed 0, skipped 0",
      "3 passed, 0 failed, 0 skipped",
    ]);
    expect(status).toBe(0);
  });

  it("tells a script that is none", async () => {
    const path = join(folder, "unbalanced.wast");
    writeFileSync(path, '(module\n(assert_return (invoke "f"))\n');
    const { status, stdout } = await spec(path);
    expect(stdout).toContain("line 1: script: unbalanced parentheses: this one is never closed");
    expect(status).toBe(1);
  });

  it.each([
    [["--jobs", "0"], "--jobs takes a whole number"],
    [["--jobs", "two"], "--jobs takes a whole number"],
    [["--what"], "Unknown option '--what'"],
    [["--json"], "argument missing"],
    [["nowhere.wast"], "there is no file or folder nowhere.wast"],
    [["--ci", "a.wast"], "--ci chooses the files itself"],
    [[fixture("fields.wast"), "--filter", "zzz"], "no file's name contains 'zzz'"],
  ])("refuses %j", async (args, words) => {
    const { status, stdout, stderr } = await spec(...args);
    expect(stderr).toContain(words);
    expect(stderr).toContain("usage:");
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });
});
