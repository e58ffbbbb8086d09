/** Help, version, wrong usage, and what a terminal sees. */
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { wantsJson } from "../../src/cli/program.ts";
import { commands } from "../../src/cli/table.ts";
import { announceSkip } from "../support/environment.ts";
import { ADD, cli, HELLO, jsonOf, MAIN, newScript, ROOT } from "./support.ts";

describe("help", () => {
  it("of the program lists every command", async () => {
    for (const args of [["--help"], ["help"]]) {
      const run = await cli(args);
      expect(run.status).toBe(0);
      expect(run.stderr).toBe("");
      for (const name of Object.keys(commands)) expect(run.stdout).toMatch(new RegExp(`^  ${name} `, "m"));
      expect(run.stdout).toContain("134");
    }
  });

  it.each(Object.entries(commands))("of %s has its options and examples", async (name, spec) => {
    const run = await cli([name, "--help"]);
    expect(run.status).toBe(0);
    for (const option of Object.values(spec.options)) expect(run.stdout).toContain(option.flags);
    for (const [example] of spec.examples) expect(run.stdout).toContain(example);
  });

  it("has the version", async () => {
    expect((await cli(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("wrong usage", () => {
  it.each([
    [["rnu"], /unknown command 'rnu' \(Did you mean run\?\); see barecell --help/],
    [
      ["run", "--timelin", HELLO],
      /unknown option '--timelin' \(Did you mean --timeline\?\); see barecell run --help/,
    ],
    [["--bogus"], /unknown option '--bogus'/],
    [["run"], /missing required argument 'module\|image'/],
    [["run", "--timeout"], /'--timeout <ms>' argument missing/],
    [["run", "--timeout", "soon", HELLO], /'--timeout <ms>' argument 'soon' is invalid/],
    [["run", "--timeout", "-1", HELLO], /invalid/],
    [["run", "--max-memory", "1T", HELLO], /--max-memory <size>.*such as 64M/],
    [["run", "--max-memory", "401G", HELLO], /maxMemoryBytes/],
    [["run", "--stack-size", "1", HELLO], /stackBytes/],
    [["run", "--env", "=x", HELLO], /NAME=VALUE/],
    [["run", "--boot", "warm", HELLO], /Allowed choices are staged, direct/],
    [["run", "--unknown-imports", "ask", HELLO], /refuse, trap, default/],
    [["run", "--target-cpu", "pentium", HELLO], /x86-64-v2, x86-64-v3/],
    [["run", "--optimize", "9", HELLO], /must be 0, 1, 2, 3 or quick/],
    [["inspect", ADD, "more"], /too many arguments/],
    [["doctor", "more"], /too many arguments/],
  ])("%j has the status 2", async (args, message) => {
    const run = await cli(args);
    expect(run.status).toBe(2);
    expect(run.stdout).toBe("");
    expect(run.stderr).toMatch(/^barecell: error: /);
    expect(run.stderr).toMatch(message);
  });

  it("without a command shows the help", async () => {
    const run = await cli([]);
    expect(run.status).toBe(2);
    expect(run.stderr).toContain("Usage: barecell");
  });

  it("is an object with --json", async () => {
    for (const args of [
      ["run", "--json", "--bogus", HELLO],
      ["run", "--timeout", "x", "--json", HELLO],
      ["inspect", ADD, "more", "--json"],
    ]) {
      const run = await cli(args);
      expect(run.status).toBe(2);
      expect(run.stderr).toBe("");
      expect(jsonOf(run)).toEqual({
        ok: false,
        error: { code: "BARECELL_ARGUMENT_INVALID", message: expect.any(String) },
      });
    }
  });

  it("knows whose --json it is", () => {
    expect(wantsJson(["run", "--env", "--json", "x.wasm"])).toBe(false);
    expect(wantsJson(["run", "--env", "A=1", "--json", "x.wasm"])).toBe(true);
    expect(wantsJson(["run", "x.wasm", "--json"])).toBe(false);
    expect(wantsJson(["run", "--", "--json"])).toBe(false);
    expect(wantsJson(["compile", "-o", "--json", "x.wasm"])).toBe(false);
    expect(wantsJson(["inspect", "x.wasm", "--json"])).toBe(true);
    expect(wantsJson([])).toBe(false);
  });
});

describe("BARECELL_DEBUG", () => {
  it("shows the stack that users are spared", async () => {
    const run = await cli(["run", "/nonexistent.wasm"]);
    expect(run.stderr).not.toContain("report");
    const shown = await cli(["run", "/nonexistent.wasm"], {
      env: { BARECELL_DEBUG: "1" },
      // The check for stack traces in `cli` looks at lines; here they are wanted.
      prefix: ["sh", "-c", '"$@" 2>&1 | tr "\\n" " "', "sh"],
    });
    expect(shown.stdout).toContain("caused by: Error: ENOENT");
  });
});

describe("a terminal", () => {
  const hasScript = existsSync("/usr/bin/script");
  if (!hasScript) announceSkip("command line on a terminal", "needs script(1)");
  const onTerminal = (...args: string[]): string[] => [
    "script",
    "--quiet",
    "--return",
    "--command",
    [process.execPath, MAIN, ...args].join(" "),
    "/dev/null",
  ];
  // `cli` puts the command at the end; `script` wants it as one word, so the end is given to a shell that ignores it.
  const run = (env: Record<string, string>, ...args: string[]) => {
    const quoted = onTerminal(...args).map((word) => `'${word}'`);
    return cli([], {
      env: { TERM: "xterm", ...env },
      cwd: ROOT,
      prefix: ["sh", "-c", quoted.join(" "), "sh"],
    });
  };

  it.skipIf(!hasScript)("has colours, unless NO_COLOR is set", async () => {
    const args = ["run", "/nonexistent.wasm"];
    expect((await run({}, ...args)).stdout).toContain("\u001b[31merror:");
    expect((await run({ NO_COLOR: "1" }, ...args)).stdout).not.toContain("\u001b");
    expect((await run({ TERM: "dumb" }, ...args)).stdout).not.toContain("\u001b");
    expect((await cli(args, { env: { TERM: "xterm" } })).stderr).not.toContain("\u001b");
  });

  it.skipIf(!hasScript)(
    "has a line of progress where compiling takes over a second, and it is gone after",
    async () => {
      const slow = newScript('case "$*" in *m0.c*) sleep 2;; esac\nexec cc "$@"');
      const args = ["run", "--no-cache", "--invoke", "add", "examples/add/add.wasm", "2", "3"];
      const shown = await run({ CC: slow }, ...args);
      expect(shown.stdout).toContain("compiling add: ");
      expect(shown.stdout.replaceAll("\r\n", "\n").endsWith("\r\u001b[K5\n")).toBe(true);
      expect((await run({}, ...args)).stdout).not.toContain("compiling add: compiling C (2 s)");
    },
  );
});
