/** The benchmark's guests with a Linux kernel: what they are made of, how they are started, watched and ended. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { PeerProcess } from "../../bench/isolation/peer-process.ts";
import { buildProgram, buildTools } from "../../bench/isolation/programs.ts";
import { allWorkloads } from "../../bench/isolation/registry.ts";
import { peer as firecracker } from "../../bench/peers/firecracker.ts";
import { type Program, type Setting, Stopped, Unavailable } from "../../bench/peers/peer.ts";
import { findProgram } from "../../bench/peers/support/find-program.ts";
import { findKernel, KERNEL_VARIABLE, unpackKernel } from "../../bench/peers/support/guest-kernel.ts";
import { tryBoot } from "../../bench/peers/support/guest-trial.ts";
import { EXECUTABLE, makeInitramfs } from "../../bench/peers/support/initramfs.ts";
import { prepareLaunched, programArguments } from "../../bench/peers/support/launched.ts";
import { guestAvailable, type Monitor, READY } from "../../bench/peers/support/linux-guest.ts";
import { crash } from "../../bench/workloads/faults.ts";
import { cli, newFolder, newScript } from "../cli/support.ts";
import { announceSkip, soon } from "../support/environment.ts";

const scratch = mkdtempSync(join(tmpdir(), "barecell-bench-guests-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

/** How long something sleeps that is to hang, in seconds; it is known by it, in this run of the tests alone. */
const nap = (which: number): string => `98${which}.${process.pid}`;

let setting: Setting;
let echo: Program;
beforeAll(async () => {
  setting = await buildTools(scratch);
  const workload = (await allWorkloads()).find(({ name }) => name === "echo");
  if (workload === undefined) throw new Error("there is no workload echo");
  echo = await buildProgram(workload, setting, true);
}, 120_000);

/** Whether a process has this in its command line; zombies have none. */
const runs = (mark: string): boolean =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .some((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(mark);
      } catch {
        return false;
      }
    });

/** As little as a kernel is known by. */
function kernelLike(machine = 62): Buffer {
  const bytes = Buffer.alloc(4096);
  bytes.writeUInt32LE(0x464c457f, 0);
  bytes.writeUInt16LE(machine, 18);
  bytes.write("Linux version 1.2.3-like (nobody)", 512);
  return bytes;
}

/** As a boot loader takes it. */
function packedKernel(payload: Buffer, change: (image: Buffer) => void = () => {}): Buffer {
  const [sectors, payloadAt] = [2, 96];
  const image = Buffer.alloc((sectors + 1) * 512 + payloadAt + payload.length);
  image.writeUInt8(sectors, 0x1f1);
  image.write("HdrS", 0x202);
  image.writeUInt16LE(0x20f, 0x206);
  image.writeUInt32LE(payloadAt, 0x248);
  image.writeUInt32LE(payload.length, 0x24c);
  payload.copy(image, (sectors + 1) * 512 + payloadAt);
  change(image);
  return image;
}

describe("an initramfs", () => {
  it("has every file with its bytes, each where the kernel looks for it", () => {
    const content = Buffer.from("seven b");
    const archive = Buffer.from(
      makeInitramfs([
        { path: "init", mode: EXECUTABLE, content },
        { path: "empty", mode: EXECUTABLE },
      ]),
    );
    const found: string[] = [];
    for (let at = 0; at < archive.length; ) {
      expect(at % 4).toBe(0);
      expect(archive.toString("latin1", at, at + 6)).toBe("070701");
      const field = (i: number): number =>
        Number.parseInt(archive.toString("latin1", at + 6 + i * 8, at + 14 + i * 8), 16);
      const [mode, size, major, minor, nameSize] = [1, 6, 9, 10, 11].map(field) as [
        number,
        number,
        number,
        number,
        number,
      ];
      const name = archive.toString("latin1", at + 110, at + 110 + nameSize);
      expect(name.endsWith("\0")).toBe(true);
      const from = Math.ceil((at + 110 + nameSize) / 4) * 4;
      const body = archive.toString("latin1", from, from + size);
      found.push(`${name.slice(0, -1)} ${mode.toString(8)} ${major}:${minor} ${body}`);
      at = Math.ceil((from + size) / 4) * 4;
    }
    expect(found).toEqual([
      "dev 40755 0:0 ",
      "dev/console 20600 5:1 ",
      "dev/ttyS0 20600 4:64 ",
      "init 100755 0:0 seven b",
      "empty 100755 0:0 ",
      "TRAILER!!! 0 0:0 ",
    ]);
  });
});

describe("a guest's kernel", () => {
  const file = (content: Buffer | string): string => {
    const path = join(newFolder(), "kernel");
    writeFileSync(path, content);
    return path;
  };
  const unpack = (content: Buffer | string): Buffer => {
    const output = join(newFolder(), "unpacked");
    unpackKernel(file(content), output);
    return readFileSync(output);
  };

  it("is the one that is named, and is missed by its name", () => {
    vi.stubEnv(KERNEL_VARIABLE, file("whatever"));
    expect(findKernel()).toBe(process.env[KERNEL_VARIABLE]);
    vi.stubEnv(KERNEL_VARIABLE, "/nonexistent/vmlinuz");
    expect(() => findKernel()).toThrow(/\/nonexistent\/vmlinuz \(BARECELL_GUEST_KERNEL\)/);
  });

  it("is a file, and none that never ends", () => {
    for (const path of ["/dev/zero", "/proc", "/nonexistent"]) {
      expect(() => unpackKernel(path, join(newFolder(), "unpacked"))).toThrow(Unavailable);
    }
  });

  it("is used as it is, or unpacked", () => {
    expect(unpack(kernelLike())).toEqual(kernelLike());
    expect(unpack(packedKernel(gzipSync(kernelLike())))).toEqual(kernelLike());
  });

  it.each([
    ["an empty file", Buffer.alloc(0)],
    ["text", "no kernel"],
    ["a program", readFileSync("/bin/true")],
    ["a kernel of another processor", kernelLike(183)],
    ["a kernel cut short", kernelLike().subarray(0, 10)],
    ["one packed in an unknown way", packedKernel(Buffer.from("unknown packing"))],
    ["one whose packed part is no kernel", packedKernel(gzipSync("no kernel"))],
    ["one with half of its packed part", packedKernel(gzipSync(kernelLike()).subarray(0, 40))],
    [
      "one that says it is longer than it is",
      packedKernel(gzipSync(kernelLike()), (image) => image.writeUInt32LE(2 ** 31, 0x24c)),
    ],
    [
      "one that says it begins behind its end",
      packedKernel(gzipSync(kernelLike()), (image) => image.writeUInt32LE(2 ** 31, 0x248)),
    ],
  ])("is not %s", (_, content) => {
    expect(() => unpack(content)).toThrow(Unavailable);
  });
});

describe("a boot that is tried", () => {
  const guest = (text: string): readonly string[] => [newScript(text)];

  it("is enough when the guest says that it is ready, and is ended then", async () => {
    const command = guest(`printf 'noise, guest: '; sleep 0.1; echo 'guest: ready'; exec sleep ${nap(1)}`);
    await soon("the boot", tryBoot(command, READY, 60_000));
    expect(runs(nap(1))).toBe(false);
  }, 60_000);

  it("is given up when it takes too long, with the last that was said", async () => {
    const command = guest(`printf 'first\\r\\nlast \\033[31m words\\r\\n'; exec sleep ${nap(2)}`);
    const tried = tryBoot(command, READY, 500);
    await expect(soon("the deadline", tried)).rejects.toMatchObject({
      constructor: Unavailable,
      message: expect.stringMatching(/had not booted after 0\.5 s.*said last: last \?\[31m words$/),
    });
    expect(runs(nap(2))).toBe(false);
  }, 60_000);

  it("is given up when the monitor gives up, with its reason", async () => {
    await expect(tryBoot(guest("echo 'no such machine' >&2; exit 3"), READY, 60_000)).rejects.toMatchObject({
      message: expect.stringMatching(
        /ended before \(status 3\).*monitor said: no such machine.*guest said nothing/,
      ),
    });
    await expect(tryBoot(["/nonexistent/monitor"], READY, 60_000)).rejects.toThrow(/ENOENT/);
  }, 60_000);
});

describe("a machine that has to boot", () => {
  /** What comes before it is ready is lost, as it is for a serial port that nobody has opened. */
  const boot = "timeout 0.2 cat >/dev/null; printf '12 13 14\\nboot\\nguest: ready\\n'";
  const prepare = (text: string) =>
    prepareLaunched(echo, setting, {
      start: [newScript(text), echo.programPath ?? "", ...programArguments(echo)],
      readyLine: READY,
    });

  it("gets its input when it is ready, and its time to that is known", async () => {
    const prepared = await prepare(`${boot}; exec "$@"`);
    const { result, output, readyUs, resultUs } = await soon("the request", prepared.request());
    expect(result).toBe(echo.expected);
    expect(Buffer.from(output ?? [])).toEqual(Buffer.from(echo.output ?? []));
    expect(readyUs).toBeGreaterThan(200_000);
    expect(resultUs).toBeGreaterThan(readyUs ?? 0);
    await soon("the end", prepared.dispose());
  }, 60_000);

  it("says itself why there is no result, however much it has said before", async () => {
    const prepared = await prepare("seq 1 20000; echo 'Kernel panic: no init'");
    await expect(soon("the request", prepared.request())).rejects.toThrow(
      /^exit status 0: .*Kernel panic: no init$/,
    );
    const after = await prepare(`${boot}; echo 'guest: killed by signal 11'; exit 0`);
    await expect(soon("the request", after.request())).rejects.toThrow(
      /exit status 0: guest: killed by signal 11/,
    );
    await Promise.all([prepared.dispose(), after.dispose()]);
  }, 60_000);

  it("is stopped when its time is over, before it is ready too", async () => {
    const prepared = await prepare(`exec sleep ${nap(3)}`);
    await expect(soon("the stop", prepared.request(300))).rejects.toBeInstanceOf(Stopped);
    expect(runs(nap(3))).toBe(false);
    await prepared.dispose();
  }, 60_000);

  it("is held, and ended without being asked to end", async () => {
    const prepared = await prepare(`${boot}; "$1" "$2" "$3" run; exec sleep ${nap(4)}`);
    const letGo = await soon("holding", prepared.hold?.(3) ?? Promise.reject(new Error("it cannot be held")));
    expect(runs(nap(4))).toBe(true);
    // A process would be given ten seconds each to end by itself.
    await soon("letting go", letGo());
    expect(runs(nap(4))).toBe(false);
    await prepared.dispose();
  }, 60_000);
});

describe("a monitor that hangs", () => {
  const place = newFolder();
  const kernel = join(place, "kernel");
  writeFileSync(kernel, kernelLike());
  for (const name of ["qemu-system-x86_64", "firecracker"]) {
    writeFileSync(join(place, name), `#!/bin/sh\n[ "$1" = --version ] || exec sleep ${nap(5)}\n`, {
      mode: 0o755,
    });
  }
  const env = { PATH: `${place}:${process.env["PATH"] ?? ""}`, [KERNEL_VARIABLE]: kernel };
  const hasKvm = existsSync("/dev/kvm");
  if (!hasKvm) announceSkip("a monitor that hangs", "needs /dev/kvm");

  it.skipIf(!hasKvm)(
    "ends with the measuring process that tries it",
    async () => {
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
      const HOST = new URL("../../dist/bench/isolation/host.js", import.meta.url);
      const host = new PeerProcess(
        // The kernel is unpacked once in a run, and this one is none.
        { peer: "firecracker", setting: { ...setting, scratch: newFolder() } },
        { script: HOST },
      );
      const asked = host.order<"available">({ op: "available" }, 60_000);
      asked.catch(() => {});
      await vi.waitFor(() => expect(runs(nap(5))).toBe(true), 20_000);
      await soon("the end", host.end());
      await expect(asked).rejects.toThrow();
      expect(runs(nap(5))).toBe(false);
    },
    60_000,
  );

  it.skipIf(!hasKvm)(
    "is gone when the measurement is interrupted",
    async () => {
      const args = ["--peers", "qemu-microvm,process", "--workload", "nothing", "--out", newFolder()];
      // `cli` checks that no process and no file is left.
      const run = await cli(["bench", "isolation", "--quick", ...args], {
        env,
        onStart: (kill) => {
          const waiting = setInterval(() => {
            if (!runs(nap(5))) return;
            clearInterval(waiting);
            kill("SIGINT");
          }, 50);
        },
      });
      expect(run.status, run.stderr).toBe(130);
    },
    60_000,
  );
});

/** A Linux kernel that is there anyway: of the emulated machine of tests/svm. */
function anyKernel(): string | undefined {
  const given = process.env[KERNEL_VARIABLE];
  if (given !== undefined) return given;
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "barecell-svm");
  if (!existsSync(cache)) return undefined;
  return readdirSync(cache)
    .flatMap((name) => ["vmlinux", "vmlinuz"].map((kind) => join(cache, name, kind)))
    .find((path) => existsSync(path));
}

describe("a Linux guest", () => {
  const kernel = anyKernel();
  const qemu = findProgram("qemu-system-x86_64");
  const canBoot = kernel !== undefined && qemu !== undefined && existsSync("/dev/kvm");
  if (!canBoot) {
    announceSkip(
      "the benchmark's Linux guests",
      "needs qemu-system-x86_64, /dev/kvm, and a kernel (BARECELL_GUEST_KERNEL, or run the tests in tests/svm once)",
    );
  }

  /** An emulated machine: no measurement, but the same guest, protocol and end everywhere. */
  const emulated = (files: readonly string[], commandLine: string): readonly string[] => [
    ...[qemu ?? "", "-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "256"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-chardev", "stdio,id=port,signal=off", "-serial", "chardev:port"],
    ...["-kernel", files[0] ?? "", "-initrd", files[1] ?? "", "-append", commandLine],
  ];

  it.skipIf(!canBoot)(
    "is found to boot",
    async () => {
      vi.stubEnv(KERNEL_VARIABLE, kernel);
      const monitor: Monitor = {
        name: "emulated",
        kernelOptions: ["reboot=t"],
        command: ({ kernelPath, initramfsPath, commandLine }) =>
          emulated([kernelPath, initramfsPath], commandLine),
      };
      expect(await guestAvailable(monitor, setting, 100_000)).toMatch(/Linux version \d/);
      expect(runs(scratch)).toBe(false);
    },
    120_000,
  );

  it.skipIf(!canBoot)(
    "runs what Firecracker is told to run, and ends by itself; a crash ends it too, and says so",
    async () => {
      vi.stubEnv(KERNEL_VARIABLE, kernel);
      // In Firecracker's place: takes its words and its configuration, and nothing else.
      const place = newFolder();
      const standIn = `
        const { readFileSync } = require("node:fs"), { spawnSync } = require("node:child_process"), assert = require("node:assert");
        const words = process.argv.slice(2);
        assert.deepEqual(words.filter((_, i) => i !== 2 && i !== 4), ["--no-api", "--config-file", "--log-path", "--level", "Error"]);
        readFileSync(words[4]);
        const told = JSON.parse(readFileSync(words[2], "utf8"));
        const boot = told["boot-source"];
        assert.deepEqual(told, { "boot-source": boot, drives: [], "machine-config": { vcpu_count: 1, mem_size_mib: 256 } });
        assert.deepEqual(Object.keys(boot), ["kernel_image_path", "initrd_path", "boot_args"]);
        console.log("Running a stand-in");
        const [path, ...rest] = ${JSON.stringify(emulated(["KERNEL", "INITRAMFS"], "COMMAND LINE"))}.map((word) =>
          ({ KERNEL: boot.kernel_image_path, INITRAMFS: boot.initrd_path, "COMMAND LINE": boot.boot_args.replace("reboot=k pci=off", "reboot=t") })[word] ?? word);
        process.exit(spawnSync(path, rest, { stdio: "inherit" }).status);`;
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, "firecracker"), `#!${process.execPath}\n${standIn}`, { mode: 0o755 });
      vi.stubEnv("PATH", `${place}:${process.env["PATH"] ?? ""}`);

      const prepared = await firecracker.prepare(echo, setting);
      const { result, output, readyUs } = await prepared.request();
      expect(result).toBe(echo.expected);
      expect(Buffer.from(output ?? [])).toEqual(Buffer.from(echo.output ?? []));
      expect(readyUs).toBeGreaterThan(0);
      await prepared.dispose();

      const crashing = await firecracker.prepare(await buildProgram(crash, setting, true), setting);
      await expect(crashing.request()).rejects.toThrow(/killed by signal 11/);
      await crashing.dispose();
      expect(runs(scratch)).toBe(false);
    },
    180_000,
  );
});
