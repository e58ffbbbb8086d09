/** Folders packed into an image, on the command line. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ADD, cli, failure, jsonOf, newFolder, ROOT } from "./support.ts";

const WORDS = join(ROOT, "examples/words/words.wasm");

let folder: string;
let image: string;
beforeAll(() => {
  folder = newFolder();
  mkdirSync(join(folder, "in"));
  writeFileSync(join(folder, "in/a"), "one two\n");
  writeFileSync(join(folder, "b"), "three");
  image = join(newFolder(), "words.cell");
});

describe("compile --bundle", () => {
  it("packs folders, which inspect shows and run grants", async () => {
    const compiled = await cli([
      ...["compile", "--bundle", `${folder}::/data`, "--bundle", `${folder}/in::/other`],
      ...[WORDS, "-o", image],
    ]);
    expect(compiled.status, compiled.stderr).toBe(0);
    expect(jsonOf(await cli(["inspect", "--json", image]))).toMatchObject({
      bundles: [
        { guest: "/data", files: 2, directories: 1, sizeBytes: 13 },
        { guest: "/other", files: 1, directories: 0, sizeBytes: 8 },
      ],
    });
    expect((await cli(["inspect", image])).stdout).toMatch(
      /Bundles\n +\/data +2 files +1 directories +13 bytes\n/,
    );
    const run = await cli(["run", image, "/data/b", "/other"]);
    expect(run.status).toBe(0);
    expect(run.stdout).toMatch(/ 0 +1 +5 \/data\/b\n +1 +2 +8 \/other\/a\n +1 +3 +13 total\n/);
  });

  it("run --no-bundles leaves them out, and --dir hides them", async () => {
    expect((await cli(["run", "--no-bundles", image, "/data/b"])).status).toBe(1);
    const hidden = await cli(["run", "--dir", `${folder}/in::/data`, image, "/data/a"]);
    expect(hidden.stdout).toMatch(/ 1 +2 +8 \/data\/a\n/);
  });

  it("says nothing of bundles where there are none", async () => {
    expect((await cli(["inspect", ADD])).stdout).not.toContain("Bundles");
    expect(jsonOf(await cli(["inspect", "--json", ADD]))).toMatchObject({ bundles: [] });
  });

  it("names what cannot be packed", async () => {
    const bad = newFolder();
    symlinkSync("/etc/passwd", join(bad, "link"));
    const link = await cli(["compile", "--json", "--bundle", `${bad}::/data`, WORDS, "-o", image]);
    expect(link.status).toBe(2);
    expect(jsonOf(link)).toMatchObject({ ok: false, error: { code: "BARECELL_BUNDLE_INVALID" } });
    const large = ["compile", "--max-bundle", "12", "--bundle", `${folder}::/data`, WORDS, "-o", image];
    await failure(large, "BARECELL_BUNDLE_INVALID", 2);
    const missing = ["compile", "--bundle", `${folder}/no::/data`, WORDS, "-o", image];
    await failure(missing, "BARECELL_FILE_UNREADABLE", 2);
  });

  it.each(["", "x", "::", "x::", "::x", "x::/y::ro"])("refuses --bundle '%s'", async (value) => {
    await failure(["compile", "--bundle", value, WORDS], "BARECELL_ARGUMENT_INVALID", 2);
  });

  it("refuses two folders of one path", async () => {
    const twice = ["--bundle", `${folder}::/data`, "--bundle", `${folder}/in::/data`];
    await failure(["compile", ...twice, WORDS], "BARECELL_ARGUMENT_INVALID", 2);
  });
});
