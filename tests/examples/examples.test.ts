/** The examples' committed modules, and the same built from source where the compiler is there. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { announceSkip, slowness } from "../support/environment.ts";
import { checkBytes, checkEdges, checkMarkdown, checkWords } from "./checks.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));
/** As automake has it for a test that cannot run here. */
const COMPILER_MISSING = 77;
const MAX_BYTES = 100_000;

const examples = [
  ["words/words.wasm", checkWords],
  ["markdown/markdown.wasm", checkMarkdown],
  ["edges/edges.wasm", checkEdges],
  ["bytes/c/bytes.wasm", checkBytes],
  ["bytes/rust/bytes.wasm", checkBytes],
  ["bytes/assemblyscript/bytes.wasm", checkBytes],
] as const;

const folder = mkdtempSync(join(tmpdir(), "barecell-examples-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(examples)("%s", (path, check) => {
  it("as committed", async () => check(readFileSync(join(EXAMPLES, path))), 120_000 * slowness);

  it("is small, and knows nothing of the machine that built it", () => {
    const bytes = readFileSync(join(EXAMPLES, path));
    expect(bytes.length).toBeLessThan(MAX_BYTES);
    expect(/\/(?:home|root|tmp|work|build|mnt)\//.exec(bytes.toString("latin1"))).toBeNull();
  });

  it(
    "as built here",
    async ({ skip }) => {
      const output = join(folder, path.replaceAll("/", "-"));
      const build = join(EXAMPLES, path, "..", "build.sh");
      const { status, stdout, stderr } = spawnSync("sh", [build, output], { encoding: "utf8" });
      if (status === COMPILER_MISSING) {
        announceSkip(`building examples/${path} from source`, stderr.trim());
        skip(stderr.trim());
      }
      expect(status, stdout + stderr).toBe(0);
      await check(readFileSync(output));
    },
    240_000 * slowness,
  );
});
