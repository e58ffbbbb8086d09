/** The table, and the pages that are made from it. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { renderPages } from "../../src/cli/docs.ts";
import { buildProgram } from "../../src/cli/program.ts";
import { type CommandSpec, commands } from "../../src/cli/table.ts";
import { errorTable } from "../../src/errors.ts";
import { ROOT } from "./support.ts";

describe("docs", () => {
  it.each([...renderPages()])(
    "%s is what the sources say (else: node scripts/make-docs.mjs)",
    (path, text) => {
      expect(readFileSync(join(ROOT, path), "utf8")).toBe(text);
    },
  );

  it("make-docs --check agrees", () => {
    const run = spawnSync(process.execPath, [join(ROOT, "scripts/make-docs.mjs"), "--check"], {
      encoding: "utf8",
    });
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
  });

  it("have every error code, command and option", () => {
    const pages = renderPages();
    for (const code of Object.keys(errorTable)) expect(pages.get("docs/errors.md")).toContain(`\`${code}\``);
    for (const [name, spec] of Object.entries<CommandSpec>(commands)) {
      expect(pages.get("docs/cli.md")).toContain(`## barecell ${name}`);
      for (const { flags } of Object.values(spec.options))
        expect(pages.get("docs/cli.md")).toContain(`\`${flags}\``);
    }
  });
});

describe("the table", () => {
  it("names each option as commander does, so that its value is found", () => {
    const program = buildProgram(async () => {});
    for (const [name, spec] of Object.entries<CommandSpec>(commands)) {
      const options = program.commands.find((command) => command.name() === name)?.options ?? [];
      expect(options.map((option) => option.attributeName())).toEqual(Object.keys(spec.options));
    }
  });
});
