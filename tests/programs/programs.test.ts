/** Programs that nobody here wrote, from the shared test data, against the results that their manifest states. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { announceSkip, isSvm, slowness } from "../support/environment.ts";
import { imageOfBytes, withVm } from "../support/modules.ts";

const DATA =
  process.env["BARECELL_TEST_DATA"] ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));
const BENCH = join(DATA, "bench");

interface Entry {
  readonly file: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  readonly imports: Readonly<Record<string, readonly string[]>>;
  readonly node20_ms: { readonly total_ms: number } | null;
  readonly expect: {
    readonly exit_code?: number;
    readonly stdout_sha256?: string;
    readonly stdout_bytes?: number;
  };
}

/** What barecell's first set of WASI has; programs that open files are for later. */
const WASI = new Set(
  [
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_prestat_dir_name",
  ].concat(["fd_prestat_get", "fd_read", "fd_seek", "fd_write", "proc_exit", "random_get", "sched_yield"]),
);
const isWasi = (module: string): boolean => module === "wasi_snapshot_preview1" || module === "wasi_unstable";

const manifest = join(BENCH, "manifest.json");
if (!existsSync(manifest)) {
  announceSkip("programs of the shared test data", `${manifest} does not exist; set BARECELL_TEST_DATA`);
}
const entries: Entry[] = existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")) : [];
const wanted = entries.filter(
  ({ imports, expect: expected, node20_ms }) =>
    Object.entries(imports).every(
      ([module, names]) => isWasi(module) && names.every((name) => WASI.has(name)),
    ) &&
    expected.stdout_sha256 !== undefined &&
    (node20_ms?.total_ms ?? 0) < (isSvm ? 50 : 1000),
);

async function run(
  file: string,
  args: readonly string[],
  stdin?: string,
): Promise<{ exitCode: number; stdout: Uint8Array }> {
  const image = await imageOfBytes(readFileSync(join(BENCH, file)));
  const input = stdin === undefined ? "ignore" : new Uint8Array(readFileSync(join(BENCH, stdin)));
  const options = {
    wasi: { args: [file, ...args], stdin: input, stdout: "capture" },
    timeoutMs: 300_000 * slowness,
  } as const;
  return withVm(image, options, async (vm) => ({ exitCode: await vm.start(), stdout: vm.stdout() }));
}

describe.runIf(entries.length > 0)("programs", () => {
  it("there are some", () => expect(wanted.length).toBeGreaterThan(isSvm ? 2 : 8));

  it.each(wanted.map((entry) => [`${entry.file} ${entry.args.join(" ")}`, entry] as const))(
    "%s",
    async (_, { file, args, stdin, expect: expected }) => {
      const { exitCode, stdout } = await run(file, args, stdin);
      expect(exitCode).toBe(expected.exit_code ?? 0);
      expect(stdout.length).toBe(expected.stdout_bytes);
      expect(createHash("sha256").update(stdout).digest("hex")).toBe(expected.stdout_sha256);
    },
    400_000 * slowness,
  );

  it.skipIf(isSvm)(
    "CoreMark comes to its valid result",
    async () => {
      // The program decides by itself how long it runs: some ten seconds.
      const { exitCode, stdout } = await run("wasm3/coremark/coremark.wasm", []);
      expect(exitCode).toBe(0);
      expect(Buffer.from(stdout).toString()).toContain("Correct operation validated");
    },
    400_000,
  );
  if (isSvm) announceSkip("CoreMark", "it would run for minutes in the emulated machine");
});
