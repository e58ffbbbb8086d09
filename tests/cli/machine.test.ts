/** Machines that lack something: each is a coded error that names the cure, and nothing is left behind. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BARECELL_URL, compile, type ErrorCode, isBarecellError } from "../support/barecell.ts";
import { announceSkip, hasSimde } from "../support/environment.ts";
import {
  ADD,
  canUnshare,
  cli,
  failure,
  HELLO,
  inNamespace,
  jsonOf,
  MAIN,
  newFolder,
  newModule,
  newScript,
  ROOT,
} from "./support.ts";

/** Answers what is asked before compiling, and then does as the script says. */
const fakeCompiler = (compiling: string): string =>
  newScript(
    `case "$*" in *--version*) echo "fake 1.0"; exit 0;; *-print-file-name*) exec cc "$@";; esac\n${compiling}`,
  );

describe("C compiler", () => {
  it("that CC names and is not there", async () => {
    const told = await failure(["run", HELLO], "BARECELL_COMPILER_MISSING", 1, {
      env: { CC: "/nonexistent" },
    });
    expect(told).toContain("/nonexistent");
  });

  it("none in PATH", async () => {
    const told = await failure(["run", HELLO], "BARECELL_COMPILER_MISSING", 1, {
      env: { PATH: newFolder() },
    });
    expect(told).toContain("apt-get install gcc");
  });

  it("that is killed", async () => {
    const told = await failure(["run", HELLO], "BARECELL_COMPILE_FAILED", 1, {
      env: { CC: fakeCompiler("kill -KILL $$") },
    });
    expect(told).toContain("SIGKILL");
  });

  it("that fails, in its own words", async () => {
    const told = await failure(["run", HELLO], "BARECELL_COMPILE_FAILED", 1, {
      env: { CC: fakeCompiler('echo "fatal error: no luck today" >&2; exit 1') },
    });
    expect(told).toContain("no luck today");
  });

  it("that makes nothing", async () => {
    await failure(["run", HELLO], "BARECELL_COMPILE_FAILED", 1, { env: { CC: fakeCompiler("exit 0") } });
  });

  it("that hangs ends with the time limit, and so do its own children", async () => {
    // Folders of its own, since others compile at the same time.
    const saved = { CC: process.env["CC"], TMPDIR: process.env["TMPDIR"] };
    const temporary = newFolder();
    process.env["CC"] = fakeCompiler("sleep 1000 & sleep 1000");
    process.env["TMPDIR"] = temporary;
    try {
      await expect(
        compile(HELLO, { cache: false, compileTimeoutMs: 1500 }).catch((error: unknown) => {
          if (isBarecellError(error)) return error.code;
          throw error;
        }),
      ).resolves.toBe("BARECELL_COMPILE_LIMIT" satisfies ErrorCode);
    } finally {
      for (const [name, value] of Object.entries(saved)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    expect(readdirSync(temporary)).toEqual([]);
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "is stopped by %s to the command line",
    async (signal) => {
      const status = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal];
      // `cli` checks that processes and temporary files are gone.
      const run = await cli(["run", "--no-cache", HELLO], {
        env: { CC: fakeCompiler("sleep 1000 & sleep 1000") },
        onStart(kill, temporary) {
          const timer = setInterval(() => {
            const folder = readdirSync(temporary)[0];
            if (folder === undefined || !existsSync(join(temporary, folder, "m0.c"))) return;
            clearInterval(timer);
            setTimeout(() => kill(signal), 500);
          }, 20);
        },
      });
      expect(run.status).toBe(status);
    },
  );
});

describe.skipIf(!canUnshare || !hasSimde)("without the SIMDe headers", () => {
  // An empty folder stands over them.
  const prefix = inNamespace("mount -t tmpfs tmpfs /usr/include/simde");
  const vector = "(v128.const i32x4 1 2 3 4)";
  const simd = `(module (func (export "f") (result i32) (i32x4.extract_lane 2 ${vector})))`;

  it("a module that uses SIMD is refused with the package to install", async () => {
    const run = await cli(["run", "--no-cache", "--invoke", "f", newModule(simd)], { prefix });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain("code: BARECELL_COMPILER_MISSING");
    expect(run.stderr).toContain("apt-get install libsimde-dev");
  });
  it("one that uses none runs", async () => {
    const run = await cli(["run", "--no-cache", "--invoke", "add", ADD, "2", "3"], { prefix });
    expect(run.stdout).toBe("5\n");
  });
});

describe.skipIf(!canUnshare)("no space left", () => {
  it("for the cache", async () => {
    const cache = newFolder();
    const left = join(newFolder(), "left");
    const prefix = inNamespace(`mount -t tmpfs -o size=16k tmpfs ${cache}`, `find ${cache} -type f >${left}`);
    const run = await cli(["run", HELLO], { env: { XDG_CACHE_HOME: cache }, prefix });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain("code: BARECELL_FILE_UNWRITABLE");
    expect(run.stderr).toContain("no space is left");
    expect(run.stderr).toContain("--no-cache");
    // The guest's runtime, which is kept there too and was the first, is whole.
    const files = readFileSync(left, "utf8")
      .split("\n")
      .filter((name) => name !== "" && !name.endsWith(".runtime"));
    expect(files).toEqual([]);
    const json = await cli(["run", "--json", HELLO], { env: { XDG_CACHE_HOME: cache }, prefix });
    expect(jsonOf(json)).toMatchObject({ ok: false, error: { code: "BARECELL_FILE_UNWRITABLE" } });
    expect((await cli(["run", "--no-cache", HELLO], { env: { XDG_CACHE_HOME: cache }, prefix })).status).toBe(
      0,
    );
  });

  it.each(["16k", "32k", "64k", "96k"])("for temporary files (%s)", async (size) => {
    const folder = newFolder();
    const left = join(newFolder(), "left");
    const run = await cli(["run", "--no-cache", HELLO], {
      env: { TMPDIR: folder },
      prefix: inNamespace(`mount -t tmpfs -o size=${size} tmpfs ${folder}`, `ls -A ${folder} >${left}`),
    });
    expect(run.stderr).toContain("code: BARECELL_FILE_UNWRITABLE");
    expect(run.stderr).toContain("TMPDIR");
    expect(run.status).toBe(1);
    expect(readFileSync(left, "utf8")).toBe("");
  });

  it("for the output", async () => {
    const folder = newFolder();
    const left = join(newFolder(), "left");
    const run = await cli(["compile", HELLO, "-o", join(folder, "x.cell")], {
      prefix: inNamespace(`mount -t tmpfs -o size=16k tmpfs ${folder}`, `ls -A ${folder} >${left}`),
    });
    expect(run.stderr).toContain("code: BARECELL_FILE_UNWRITABLE");
    expect(readFileSync(left, "utf8")).toBe("");
  });
});

/** A user without rights, as far as one can read the package at all. */
const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
const canBeNobody =
  canUnshare &&
  spawnSync(AS_NOBODY[0] ?? "", [...AS_NOBODY.slice(1), process.execPath, MAIN, "--version"]).status === 0;
if (canUnshare && !canBeNobody) {
  announceSkip(
    "command line of a user without rights",
    "needs setpriv, and a package that everybody may read",
  );
}

/** A /dev with the devices that Node needs, and /dev/kvm with this mode, or none. */
const devices = (kvm?: string): string => `
  mount -t tmpfs tmpfs /dev
  mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/urandom c 1 9
  ${kvm === undefined ? "" : `mknod -m ${kvm} /dev/kvm c 10 232`}`;

describe.skipIf(!canUnshare)("/dev/kvm", () => {
  it("missing", async () => {
    const told = await failure(["run", HELLO], "BARECELL_KVM_MISSING", 1, { prefix: inNamespace(devices()) });
    expect(told).toContain("/dev/kvm does not exist");
    const doctor = await cli(["doctor"], { prefix: inNamespace(devices()) });
    expect(doctor.status).toBe(1);
    expect(doctor.stdout).toMatch(/^fail +\/dev\/kvm +does not exist$/m);
    const json = await cli(["doctor", "--json"], { prefix: inNamespace(devices()) });
    expect(jsonOf(json)).toMatchObject({ ok: false, kvm: null });
  });

  it.skipIf(!canBeNobody)("without permission", async () => {
    const setup = `${devices("600")}
      mount -t tmpfs -o mode=755 tmpfs /mnt; mkdir -m 777 /mnt/cache /mnt/tmp
      export XDG_CACHE_HOME=/mnt/cache TMPDIR=/mnt/tmp`;
    const prefix = [...inNamespace(setup), ...AS_NOBODY];
    const told = await failure(["run", HELLO], "BARECELL_KVM_PERMISSION", 1, { prefix });
    expect(told).toContain("usermod -aG kvm");
    const doctor = await cli(["doctor"], { prefix });
    expect(doctor.status).toBe(1);
    expect(doctor.stdout).toMatch(/^fail +\/dev\/kvm +present, but this user may not open it$/m);
  });

  it("that is no KVM", async () => {
    const prefix = inNamespace(`${devices()}\nmknod -m 666 /dev/kvm c 1 3`);
    await failure(["run", HELLO], "BARECELL_KVM_UNSUITABLE", 1, { prefix });
  });
});

describe("files without permission", () => {
  it.skipIf(!canBeNobody)("are unreadable", async () => {
    const setup = `mount -t tmpfs -o mode=755 tmpfs /mnt; install -m 600 ${ADD} /mnt/a.wasm`;
    const told = await failure(["run", "/mnt/a.wasm"], "BARECELL_FILE_UNREADABLE", 2, {
      prefix: [...inNamespace(setup), ...AS_NOBODY],
    });
    expect(told).toContain("permissions");
  });
});

describe("processor", () => {
  it.skipIf(!canUnshare)("older than the image asks for", async () => {
    const flags = "fpu sse sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
    const fake = join(newFolder(), "cpuinfo");
    writeFileSync(fake, `processor\t: 0\nflags\t\t: ${flags}\n`);
    const prefix = inNamespace(`mount --bind ${fake} /proc/cpuinfo`);
    const told = await failure(
      ["run", "--target-cpu", "x86-64-v3", "--invoke", "add", ADD, "2", "3"],
      "BARECELL_IMAGE_CPU",
      1,
      { prefix },
    );
    expect(told).toContain("avx2");
    // What is compiled on it is for it, whatever the cache has of a newer one's.
    expect((await cli(["run", "--invoke", "add", ADD, "2", "3"], { prefix })).stdout).toBe("5\n");
    const inspected = await cli(["inspect", "--json", ADD], { prefix });
    expect(JSON.parse(inspected.stdout)).toMatchObject({ targetCpu: "x86-64-v2" });
  });
});

describe("addon", () => {
  it("missing", async () => {
    const env = { BARECELL_ADDON: "/nonexistent.node" };
    expect(await failure(["run", HELLO], "BARECELL_ADDON_MISSING", 1, { env })).toContain(
      "npm run build:native",
    );
    const doctor = await cli(["doctor"], { env });
    expect(doctor.status).toBe(1);
    expect(doctor.stdout).toMatch(/^fail +addon/m);
  });

  it("of another kind", async () => {
    const env = { BARECELL_ADDON: join(ROOT, "package.json") };
    await failure(["run", HELLO], "BARECELL_ADDON_MISSING", 1, { env });
  });
});

it("tests run the package as built", () => {
  expect(existsSync(new URL(BARECELL_URL))).toBe(true);
});
