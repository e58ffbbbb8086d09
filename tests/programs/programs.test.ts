/** Programs that nobody here wrote, from the shared test data, against the results that their manifest states. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Image } from "../support/barecell.ts";
import { announceSkip, isSvm, slowness } from "../support/environment.ts";
import { imageOfBytes, withVm } from "../support/modules.ts";

const DATA =
  process.env["BARECELL_TEST_DATA"] ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));
const BENCH = join(DATA, "bench");

interface Entry {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly stdin?: string;
  readonly node20_ms: { readonly total_ms: number } | null;
  readonly expect: {
    readonly exit_code?: number;
    readonly stdout_file?: string;
    readonly stderr_file?: string;
    readonly stdout_sha256?: string;
    readonly stdout_sha1?: string;
    readonly stdout_bytes?: number;
  };
}

const LARGE_BYTES = 40_000;
const HUGE_BYTES = 300_000;

/**
 * The level that people get who say nothing; for the larger ones, on which the C compiler works long, others by turns, and for the largest the quickest. So all three that are
 * in use compile real programs, of one part and of several: they come from the same few compilers.
 */
function levelFor(file: string, { length }: Uint8Array): 1 | 2 | "quick" {
  if (length > HUGE_BYTES) return "quick";
  if (length <= LARGE_BYTES) return 2;
  const turn = larger.indexOf(file);
  return ([2, "quick", 1, "quick"] as const)[turn % 4] ?? 2;
}

/** By file: several entries may be of one program, and run at the same time. */
const images = new Map<string, Promise<Image>>();

function imageOfFile(file: string): Promise<Image> {
  const known = images.get(file);
  if (known !== undefined) return known;
  const module = readFileSync(join(BENCH, file));
  const image = imageOfBytes(module, { optimize: levelFor(file, module) });
  images.set(file, image);
  return image;
}

const manifest = join(BENCH, "manifest.json");
if (!existsSync(manifest)) {
  announceSkip("programs of the shared test data", `${manifest} does not exist; set BARECELL_TEST_DATA`);
}
const entries: Entry[] = existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")) : [];
/** CoreMark decides by itself how long it runs, and has a test of its own. */
const wanted = entries.filter(
  ({ file, node20_ms }) => !file.endsWith("coremark.wasm") && (!isSvm || (node20_ms?.total_ms ?? 1000) < 50),
);

/** In an order that stays. */
const larger = [...new Set(entries.map(({ file }) => file))]
  .filter((file) => statSync(join(BENCH, file)).size > LARGE_BYTES)
  .sort();

interface Ended {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

async function run({ file, args, cwd, stdin }: Omit<Entry, "node20_ms" | "expect">): Promise<Ended> {
  const image = await imageOfFile(file);
  const input = stdin === undefined ? "ignore" : new Uint8Array(readFileSync(join(BENCH, stdin)));
  // By all the names under which C libraries, old and new, look for the working directory. The data itself stays as it is: a
  // program that writes does so in a copy.
  const work = mkdtempSync(join(tmpdir(), "barecell-programs-"));
  cpSync(join(BENCH, cwd), work, { recursive: true, filter: (path) => !path.endsWith(".wasm") });
  chmodSync(work, 0o755);
  const grant = { host: work, writable: true };
  const preopens = { "./": grant, "/": grant, ".": grant };
  return withVm(
    image,
    {
      wasi: { args: [file, ...args], stdin: input, stdout: "capture", stderr: "capture", preopens },
      // Marks of the benchmarks' timed part (bench.start, bench.end).
      unknownImports: "default",
      timeoutMs: 300_000 * slowness,
    },
    async (vm) => ({ exitCode: await vm.start(), stdout: vm.stdout(), stderr: vm.stderr() }),
  ).finally(() => {
    // Copies of folders that may only be read are such folders.
    execFileSync("chmod", ["-R", "u+rwX", work]);
    rmSync(work, { recursive: true });
  });
}

const hash = (name: string, bytes: Uint8Array): string => createHash(name).update(bytes).digest("hex");

describe.runIf(entries.length > 0)("programs", () => {
  it("there are some", () => expect(wanted.length).toBeGreaterThan(isSvm ? 2 : 60));

  // Side by side, since nearly all of the time is the C compiler's, which uses one processor.
  it.concurrent.each(wanted.map((entry) => [`${entry.file} ${entry.args.join(" ")}`, entry] as const))(
    "%s",
    async (_, entry) => {
      const { exitCode, stdout, stderr } = await run(entry);
      const expected = entry.expect;
      expect(exitCode, Buffer.from(stderr).toString()).toBe(expected.exit_code ?? 0);
      const { stdout_bytes, stdout_sha256, stdout_sha1, stdout_file, stderr_file } = expected;
      if (stdout_bytes !== undefined) expect(stdout.length).toBe(stdout_bytes);
      if (stdout_sha256 !== undefined) expect(hash("sha256", stdout)).toBe(stdout_sha256);
      if (stdout_sha1 !== undefined) expect(hash("sha1", stdout)).toBe(stdout_sha1);
      for (const [path, bytes] of [
        [stdout_file, stdout],
        [stderr_file, stderr],
      ] as const) {
        if (path === undefined) continue;
        expect(Buffer.from(bytes).toString()).toBe(readFileSync(join(BENCH, path), "utf8"));
      }
    },
    400_000 * slowness,
  );

  it.skipIf(isSvm)(
    "CoreMark comes to its valid result",
    async () => {
      // The program decides by itself how long it runs: some ten seconds.
      const { exitCode, stdout } = await run({
        file: "wasm3/coremark/coremark.wasm",
        args: [],
        cwd: "wasm3",
      });
      expect(exitCode).toBe(0);
      expect(Buffer.from(stdout).toString()).toContain("Correct operation validated");
    },
    400_000,
  );
  if (isSvm) announceSkip("CoreMark", "it would run for minutes in the emulated machine");
});
