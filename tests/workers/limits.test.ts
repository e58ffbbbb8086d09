/** Limits of the operating system: what VMs take of them, as counted; too low ones are found before a pool starts, or named when one is met. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { needsOf, readHostLimits, requireHostLimits, vmsWithin } from "../../dist/workers/capacity.js";
import { checkWorkerPoolOptions } from "../../dist/workers/options.js";
import { BARECELL_URL, type BootOptions, type Image, MicroVM } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOf, imageOfModules } from "../support/modules.ts";
import { one } from "./guest.ts";

const folder = mkdtempSync(join(tmpdir(), "barecell-limits-"));
const imagePath = join(folder, "one.cell");
await one.save(imagePath);
afterAll(() => rmSync(folder, { recursive: true }));

const descriptors = (): number => readdirSync("/proc/self/fd").length;
const mappings = (): number => readFileSync("/proc/self/maps", "utf8").split("\n").length - 1;

describe("what a VM takes", () => {
  const preopens = { "/a": folder, "/b": { host: folder, writable: true }, "/m": { memoryBytes: 65_536 } };
  const cases: [string, () => Promise<Image>, BootOptions][] = [
    ["a small image", async () => one, {}],
    ["no memory", () => imageOf("limits-none", '(module (func (export "f")))'), {}],
    [
      "data here and there",
      () =>
        imageOf(
          "limits-data",
          '(module (memory 8 20) (data (i32.const 0) "a") (data (i32.const 200000) "b") (data (i32.const 400000) "c") (func (export "f")))',
        ),
      {},
    ],
    [
      "several memories",
      () =>
        imageOfModules([
          ["a", '(module (memory (export "m") 2 9) (data (i32.const 70000) "x"))'],
          ["b", '(module (memory 1 4) (data (i32.const 5) "y") (func (export "f")))'],
        ]),
      {},
    ],
    ["directories of the host", async () => one, { wasi: { preopens } }],
  ];
  it.each(cases)("%s: not more than is reckoned with, and hardly less", async (_, make, options) => {
    const image = await make();
    const boot = (): Promise<MicroVM> =>
      MicroVM.boot(image, { boot: "direct", unknownImports: "default", ...options });
    // The first ones bring what a process needs once: KVM, the image's file, threads, the spare VM.
    const vms = [await boot(), await boot(), await boot()];
    const before = { descriptors: descriptors(), mappings: mappings() };
    const COUNT = 20;
    for (let i = 0; i < COUNT; i++) vms.push(await boot());
    const each = {
      descriptors: (descriptors() - before.descriptors) / COUNT,
      mappings: (mappings() - before.mappings) / COUNT,
    };
    for (const vm of vms) vm.dispose();
    const needs = needsOf(image, options);
    // The heap of the process grows by a mapping now and then.
    expect(each.descriptors).toBeCloseTo(needs.descriptors, 0);
    expect(each.mappings).toBeLessThanOrEqual(needs.mappings + 0.5);
    expect(each.mappings).toBeGreaterThanOrEqual(needs.mappings - 5);
    // At least the VM and its vCPU, and what the vCPU has in common with KVM.
    expect(each.descriptors).toBeGreaterThanOrEqual(1.9);
    expect(each.mappings).toBeGreaterThanOrEqual(2.5);
  });
});

describe("before a pool starts", () => {
  const enough = {
    openFiles: 1e6,
    mappings: 1e6,
    userThreads: 1e6,
    systemFiles: 1e6,
    systemThreads: { value: 1e6, name: "kernel.threads-max" },
    threadsOfVm: 1,
  };
  const options = checkWorkerPoolOptions(one, { max: 2000, processes: 2, vm: { unknownImports: "default" } });
  it.each([
    [{ openFiles: 1024 }, /RLIMIT_NOFILE.* of 21\d\d, and it is 1024; raise it: ulimit -Hn 21\d\d/],
    [
      { mappings: 4096 },
      /vm\.max_map_count of \d+, and it is 4096; raise it: sysctl -w vm\.max_map_count=\d+/,
    ],
    [{ systemFiles: 3000 }, /fs\.file-max of \d+, and it is 3000/],
    [{ userThreads: 500 }, /RLIMIT_NPROC\) of 20\d\d, and it is 500; raise it: ulimit -u 20\d\d/],
    [{ systemThreads: { value: 900, name: "kernel.pid_max" } }, /kernel\.pid_max of 20\d\d, and it is 900/],
    [{ systemThreads: { value: 900, name: "pids.max" } }, /TasksMax=20\d\d/],
  ])("%j is too low", async (low, message) => {
    requireHostLimits(options, enough);
    const error = await failure(
      () => requireHostLimits(options, { ...enough, ...low }),
      "BARECELL_HOST_LIMIT",
    );
    expect(error.message).toMatch(message);
    expect(error.message).toContain("2000 VMs in 2 processes");
  });

  it("more processes need less each", () => {
    const many = checkWorkerPoolOptions(one, { max: 2000, processes: 8 });
    requireHostLimits(many, { ...enough, openFiles: 1024 });
  });

  it("memory for what is made ahead", async () => {
    const huge = checkWorkerPoolOptions(one, { min: 100_000, max: 100_000, processes: 1000 });
    const error = await failure(
      () =>
        requireHostLimits(huge, { ...enough, systemThreads: { value: 1e9, name: "x" }, userThreads: 1e9 }),
      "BARECELL_HOST_LIMIT",
    );
    expect(error.message).toContain("available memory");
    expect(error.message).toContain("lower min");
  });

  it("limits are read from the system's own files, the least of several", () => {
    const files: Record<string, string> = {
      "/proc/self/limits":
        "Max processes             5000                 9000                 processes\nMax open files            1024                 unlimited            files\n",
      "/proc/sys/vm/max_map_count": "65530\n",
      "/proc/sys/kernel/threads-max": "100000\n",
      "/proc/sys/kernel/pid_max": "32768\n",
      "/proc/self/cgroup": "3:memory:/a\n2:pids:/b\n0::/c\n",
      "/sys/fs/cgroup/c/pids.max": "max\n",
      "/sys/fs/cgroup/pids/b/pids.max": "777\n",
      "/sys/module/kvm/parameters/nx_huge_pages": "never\n",
    };
    const limits = readHostLimits((path: string) => files[path]);
    expect(limits).toMatchObject({
      openFiles: Number.POSITIVE_INFINITY,
      mappings: 65_530,
      systemFiles: Number.POSITIVE_INFINITY,
      systemThreads: { value: 777 },
      threadsOfVm: 0,
    });
    expect(readHostLimits(() => undefined).threadsOfVm).toBe(1);
  });

  it("how many VMs a limit allows in a process", () => {
    expect(vmsWithin("openFiles", 1128)).toBe(500);
    expect(vmsWithin("mappings", 9000)).toBe(1000);
    expect(vmsWithin("openFiles", 5)).toBe(0);
  });
});

/** @param shell commands before, which lower limits for it */
function child(scenario: string, shell: string): Promise<{ stdout: string; stderr: string }> {
  const script = fileURLToPath(new URL("limits-child.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    execFile(
      "/bin/bash",
      ["-c", `${shell} exec "$0" "$@"`, process.execPath, script, scenario, BARECELL_URL, imagePath],
      { timeout: 30_000 * slowness },
      (error, stdout, stderr) =>
        error ? reject(new Error(`${error.message}\n${stderr}`)) : resolve({ stdout, stderr }),
    );
  });
}

describe("a limit that is met", () => {
  it("open files: named, with its value; what runs goes on, and VMs that go make room", async () => {
    const { stdout, stderr } = await child("open files", "ulimit -n 80 &&");
    expect(stderr).toBe("");
    const { made, code, message, answer, again } = JSON.parse(stdout);
    expect(made).toBeGreaterThan(5);
    expect(made).toBeLessThan(40);
    expect(code).toBe("BARECELL_HOST_LIMIT");
    expect(message).toMatch(/Too many open files.*as many files open as it may, 80 \(RLIMIT_NOFILE/);
    expect(message).toContain("ulimit -Hn");
    expect({ answer, again }).toEqual({ answer: 3, again: 7 });
  });

  it("address space: named, with its value", async () => {
    const { stdout, stderr } = await child("address space", "");
    expect(stderr).toBe("");
    const { code, message, answer } = JSON.parse(stdout);
    expect(code).toBe("BARECELL_HOST_LIMIT");
    expect(message).toMatch(/Cannot allocate memory.*\d+ bytes of address space \(RLIMIT_AS/);
    expect(answer).toBe(3);
  });

  it("a pool of worker processes refuses to start, and starts nothing", async () => {
    const { stdout, stderr } = await child("pool", "ulimit -n 600 &&");
    expect(stderr).toBe("");
    const { code, message, children, small } = JSON.parse(stdout);
    expect(code).toBe("BARECELL_HOST_LIMIT");
    expect(message).toMatch(/RLIMIT_NOFILE.* of 11\d\d, and it is 600/);
    expect(children).toBe("");
    expect(small).toBe(3);
  });
});
