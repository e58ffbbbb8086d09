/** `barecell doctor`, on this machine and on machines made up of files. KVM itself is not made up: what it says is given or thrown. */
import { describe, expect, it } from "vitest";
import { type Check, type DoctorHost, diagnose, hostKind } from "../../src/cli/doctor-checks.ts";
import { BarecellError } from "../../src/errors.ts";
import { cli, jsonOf } from "./support.ts";

const V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3";
const V3 = `${V2} avx avx2 bmi1 bmi2 f16c fma abm movbe`;
const PROBE = {
  ...{ apiVersion: 12, memorySlots: 509, maxVcpus: 1024, syncRegs: 7 },
  ...{ hasXsave: true, cr4: 0, efer: 0, emulatedSvm: false },
};

const LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled";

interface Machine {
  readonly flags?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly denied?: readonly string[];
  readonly missing?: readonly string[];
  readonly host?: Partial<DoctorHost>;
}

/** A machine on which all is well, but for what is said. */
function machine({
  flags = `${V3} vmx`,
  files = {},
  denied = [],
  missing = [],
  host = {},
}: Machine = {}): DoctorHost {
  const all: Record<string, string> = {
    "/proc/cpuinfo": `model name\t: Any\nflags\t\t: ${flags}\n`,
    "/proc/self/limits":
      "Limit  Soft  Hard\nMax open files            1048576              1048576              files\n",
    "/proc/sys/vm/max_map_count": "1048576\n",
    "/proc/sys/kernel/threads-max": "192731\n",
    "/proc/sys/kernel/osrelease": "6.12.8-amd64\n",
    [LARGE_PAGES]: "always [madvise] never\n",
    "/dev/kvm": "",
    "/sys/module/kvm_intel": "",
    ...files,
  };
  for (const path of missing) delete all[path];
  return {
    platform: "linux",
    arch: "x64",
    readText: (path) => all[path],
    access: (path) => (denied.includes(path) ? "denied" : path in all ? "ok" : "missing"),
    cacheFolder: "/home/user/.cache/barecell",
    freeBytes: () => 2 ** 34,
    probe: () => PROBE,
    compiler: async () => ({ path: "/usr/bin/cc", version: "cc 12.2" }),
    simde: () => "/usr/include",
    trialBoots: async () => [300, 250, 280, 9000, 260],
    ...host,
  };
}

const fails =
  (
    code:
      | "BARECELL_KVM_MISSING"
      | "BARECELL_KVM_PERMISSION"
      | "BARECELL_KVM_UNSUITABLE"
      | "BARECELL_KVM_FAILED",
  ) =>
  () => {
    throw new BarecellError(code, "as the test says");
  };
async function check(host: DoctorHost, name: string): Promise<Check | undefined> {
  return (await diagnose(host)).checks.find((entry) => entry.name === name);
}

describe("on this machine", () => {
  it("runs, and says the same to people and to programs", async () => {
    const json = await cli(["doctor", "--json"]);
    const object = jsonOf(json) as { ok: boolean; checks: Check[]; kvm: { apiVersion: number } };
    expect(object.checks.filter(({ status }) => status === "fail")).toEqual([]);
    expect(object.ok).toBe(true);
    expect(object.kvm.apiVersion).toBe(12);
    expect(json.status).toBe(0);
    const human = await cli(["doctor"]);
    expect(human.status).toBe(0);
    for (const { name } of object.checks) expect(human.stdout).toContain(`  ${name} `);
    expect(human.stdout).toContain("barecell runs here");
  });

  it("warns where there is no C compiler, since images run without", async () => {
    const run = await cli(["doctor"], { env: { CC: "/nonexistent" } });
    expect(run.status).toBe(0);
    expect(run.stdout).toMatch(/^warn +C compiler/m);
    expect(run.stdout).toMatch(/^skip +boot/m);
  });

  it("warns of a cache that cannot be written to", async () => {
    const run = await cli(["doctor"], { env: { XDG_CACHE_HOME: "/proc" } });
    expect(run.stdout).toMatch(/^(warn +cache|ok +cache +\/proc)/m);
  });
});

describe("on other machines", () => {
  it("all well", async () => {
    const diagnosis = await diagnose(machine());
    expect(diagnosis.ok).toBe(true);
    expect(diagnosis.checks.filter(({ status }) => status !== "ok")).toEqual([]);
    for (const entry of diagnosis.checks) expect(entry.cure).toBeUndefined();
  });

  it("tells the kinds of host apart", () => {
    expect(hostKind(machine())).toBe("bare metal");
    expect(hostKind(machine({ flags: `${V3} vmx hypervisor` }))).toBe("nested");
    expect(
      hostKind(machine({ files: { "/sys/module/kvm_pvm": "" }, missing: ["/sys/module/kvm_intel"] })),
    ).toBe("PVM");
    expect(hostKind(machine({ missing: ["/sys/module/kvm_intel"] }))).toBe("unknown");
    expect(
      hostKind(machine({ files: { "/sys/module/kvm_amd": "" }, missing: ["/sys/module/kvm_intel"] })),
    ).toBe("bare metal");
  });

  it.each([
    [`${V3} vmx`, /modprobe kvm_intel/],
    [`${V3} svm`, /modprobe kvm_amd/],
    [`${V3} hypervisor`, /nested virtualization|nested virtualisation/],
    [V3, /firmware/],
  ])("no /dev/kvm, with the flags %s", async (flags, cure) => {
    const host = machine({ flags, missing: ["/dev/kvm"], host: { probe: fails("BARECELL_KVM_MISSING") } });
    const diagnosis = await diagnose(host);
    expect(diagnosis.ok).toBe(false);
    expect(diagnosis.kvm).toBeNull();
    expect(await check(host, "/dev/kvm")).toMatchObject({
      status: "fail",
      cure: expect.stringMatching(cure),
    });
    expect(await check(host, "KVM")).toMatchObject({ status: "skip" });
    expect(await check(host, "boot")).toMatchObject({ status: "skip" });
  });

  it("/dev/kvm without permission", async () => {
    const host = machine({ denied: ["/dev/kvm"], host: { probe: fails("BARECELL_KVM_PERMISSION") } });
    expect(await check(host, "/dev/kvm")).toMatchObject({
      status: "fail",
      cure: expect.stringContaining("usermod -aG kvm"),
    });
  });

  it("a KVM that lacks something", async () => {
    const host = machine({ host: { probe: fails("BARECELL_KVM_UNSUITABLE") } });
    expect(await check(host, "KVM")).toMatchObject({ status: "fail", cure: expect.stringContaining("5.10") });
    expect((await diagnose(host)).ok).toBe(false);
  });

  it("another system or processor", async () => {
    expect(await check(machine({ host: { platform: "darwin" } }), "platform")).toMatchObject({
      status: "fail",
    });
    expect(await check(machine({ host: { arch: "arm64" } }), "platform")).toMatchObject({ status: "fail" });
    expect(await check(machine({ flags: "sse2" }), "processor")).toMatchObject({ status: "fail" });
    expect((await check(machine({ flags: V2 }), "processor"))?.detail).toContain("for v3 it lacks avx");
  });

  it("low limits, little space, missing headers", async () => {
    const host = machine({
      files: {
        "/proc/self/limits": "Max open files            256                  256                  files\n",
        "/proc/sys/vm/max_map_count": "1000\n",
      },
      host: {
        freeBytes: () => 1000,
        simde: () => {
          throw new BarecellError("BARECELL_COMPILER_MISSING", "no headers");
        },
      },
    });
    for (const name of ["open files", "memory maps", "cache", "SIMDe headers"]) {
      expect(await check(host, name)).toMatchObject({ status: "warn", cure: expect.any(String) });
    }
    expect((await diagnose(host)).ok).toBe(true);
    expect((await check(host, "open files"))?.detail).toBe(
      "at most 256 in a process, enough for 64 VMs in one",
    );
    expect((await check(host, "memory maps"))?.detail).toContain("enough for 0 VMs in one");
  });

  it("threads, of which KVM makes one for each VM unless it is told not to", async () => {
    const files = {
      "/proc/sys/kernel/threads-max": "5000\n",
      "/proc/sys/kernel/pid_max": "4000\n",
    };
    const one = await check(machine({ files }), "threads");
    expect(one?.detail).toBe("at most 4000 in all (kernel.pid_max); KVM makes one for each VM");
    const nx = { "/sys/module/kvm/parameters/nx_huge_pages": "never\n" };
    expect((await check(machine({ files: { ...files, ...nx } }), "threads"))?.detail).toContain("makes none");
    const unknown = machine({ missing: ["/proc/sys/kernel/threads-max"] });
    expect(await check(unknown, "threads")).toMatchObject({ status: "skip" });
  });

  it.each([
    ["switched off", { [LARGE_PAGES]: "always madvise [never]\n" }, /switched off/, /echo madvise > \/sys/],
    ["not in the kernel", { [LARGE_PAGES]: "" }, /has none/, /CONFIG_TRANSPARENT_HUGEPAGE/],
    ["an old kernel", { "/proc/sys/kernel/osrelease": "6.1.0-48-amd64\n" }, /Linux 6\.1\.0/, /6\.7/],
    ["an older one", { "/proc/sys/kernel/osrelease": "5.15.0\n" }, /Linux 5\.15/, /6\.7/],
  ])("large pages: %s", async (_, files, detail, cure) => {
    const found = await check(machine({ files }), "large pages");
    expect(found?.status).toBe("warn");
    expect(found?.detail).toMatch(detail);
    expect(found?.cure).toMatch(cure);
  });
  it.each(["6.7.0", "6.18.44-fc", "7.0"])("large pages, Linux %s", async (release) => {
    const found = await check(machine({ files: { "/proc/sys/kernel/osrelease": release } }), "large pages");
    expect(found?.status).toBe("ok");
  });
  it("a boot that fails", async () => {
    const host = machine({ host: { trialBoots: fails("BARECELL_KVM_FAILED") } });
    expect(await check(host, "boot")).toMatchObject({ status: "fail", detail: "as the test says" });
    expect((await diagnose(host)).ok).toBe(false);
  });

  it("slow creation of VMs: both cures, where they apply", async () => {
    const slow = { trialBoots: async () => [20_000, 21_000, 300] };
    const nx = "/sys/module/kvm/parameters/nx_huge_pages";
    const mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
    const both = await check(
      machine({ files: { [nx]: "Y\n", "/proc/mounts": mounts }, host: slow }),
      "VM creation",
    );
    expect(both).toMatchObject({ status: "warn" });
    expect(both?.cure).toContain(`echo never > ${nx}`);
    expect(both?.cure).toContain("mount -o remount,favordynmods /sys/fs/cgroup");
    const none = await check(
      machine({
        files: { [nx]: "never\n", "/proc/mounts": mounts.replace("rw", "rw,favordynmods") },
        host: slow,
      }),
      "VM creation",
    );
    expect(none?.cure).toContain("not known");
  });
});
