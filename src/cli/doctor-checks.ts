/** What `barecell doctor` looks at. Everything is asked of a `DoctorHost`, so that tests can be a machine that lacks something. */
import { type BarecellError, errorTable, errorText, isBarecellError } from "../errors.ts";
import { missingFlags } from "../image/target-cpu.ts";
import type { NativeProbe } from "../vm/addon.ts";
import { readHostLimits, vmsWithin } from "../workers/capacity.ts";
import { spellBytes } from "./terminal.ts";

/** What the checks ask of the machine. */
export interface DoctorHost {
  readonly platform: string;
  readonly arch: string;
  /** Undefined if the file cannot be read. */
  readText(path: string): string | undefined;
  /** Whether a device can be opened for reading and writing, without opening it. */
  access(path: string): "ok" | "missing" | "denied";
  readonly cacheFolder: string;
  /** Free bytes where the folder is or would be. @throws what keeps it from being written to */
  freeBytes(folder: string): number;
  /** Opens KVM. @throws BarecellError */
  probe(): NativeProbe;
  /** @throws BARECELL_COMPILER_MISSING and others */
  compiler(): Promise<{ readonly path: string; readonly version: string }>;
  /** Folder of the SIMDe headers. @throws BARECELL_COMPILER_MISSING */
  simde(): string;
  /** Compiles a small module and boots it a few times. @returns what creating each VM took, microseconds */
  trialBoots(): Promise<number[]>;
}

export type CheckStatus = "ok" | "warn" | "fail" | "skip";

/** One line of the report. "fail": nothing can be run here. */
export interface Check {
  readonly name: string;
  readonly status: CheckStatus;
  readonly detail: string;
  /** Absent where there is nothing to do. */
  readonly cure?: string;
}

export type HostKind = "bare metal" | "nested" | "PVM" | "unknown";

export interface Diagnosis {
  readonly ok: boolean;
  readonly host: { readonly kind: HostKind };
  readonly kvm: NativeProbe | null;
  readonly checks: readonly Check[];
}

/** Creating a VM takes a fifth of this where nothing is wrong. */
const SLOW_CREATE_US = 2000;
const LOW_SPACE_BYTES = 64 * 2 ** 20;
/** Linux's own standard for a process. */
const USUAL_FILES = 1024;
const USUAL_MAPS = 65_530;

/** Runs all checks, in the order in which one rests on the other. */
export async function diagnose(host: DoctorHost): Promise<Diagnosis> {
  const kind = hostKind(host);
  const { check: kvmCheck, probe } = checkKvm(host);
  const compiler = await checkCompiler(host);
  const before = [
    checkPlatform(host),
    checkDevice(host),
    describeKind(kind),
    kvmCheck,
    checkProcessor(host),
    compiler,
    checkSimde(host),
    checkCache(host),
    ...checkLimits(host),
    checkLargePages(host),
  ];
  const blocked = before.find(({ status }) => status === "fail");
  const boots =
    blocked || compiler.status !== "ok"
      ? [
          {
            name: "boot",
            status: "skip",
            detail: `not tried, because of: ${(blocked ?? compiler).name}`,
          } as const,
        ]
      : await checkBoot(host);
  const checks = [...before, ...boots];
  return { ok: checks.every(({ status }) => status !== "fail"), host: { kind }, kvm: probe ?? null, checks };
}

/** From the modules that are loaded, and from what the processor says of itself. */
export function hostKind(host: DoctorHost): HostKind {
  const has = (module: string): boolean => host.access(`/sys/module/${module}`) !== "missing";
  if (has("kvm_pvm")) return "PVM";
  if (!has("kvm_intel") && !has("kvm_amd")) return "unknown";
  return cpuFlags(host).has("hypervisor") ? "nested" : "bare metal";
}

function cpuFlags(host: DoctorHost): ReadonlySet<string> {
  const line = /^flags\s*:\s*(.*)$/m.exec(host.readText("/proc/cpuinfo") ?? "")?.[1] ?? "";
  return new Set(line.split(" "));
}

function describeKind(kind: HostKind): Check {
  const details: Readonly<Record<HostKind, string>> = {
    "bare metal": "bare metal: KVM with hardware support",
    nested: "nested: KVM with hardware support, inside a VM; host calls and page faults cost more",
    PVM: "PVM: KVM without hardware support, inside a VM; a host call takes tens of microseconds",
    unknown: "unknown: none of the modules kvm_intel, kvm_amd, kvm_pvm is loaded",
  };
  return { name: "kind of host", status: kind === "unknown" ? "warn" : "ok", detail: details[kind] };
}

function checkPlatform(host: DoctorHost): Check {
  const detail = `${host.platform} ${host.arch}`;
  if (host.platform === "linux" && host.arch === "x64") return { name: "platform", status: "ok", detail };
  return { name: "platform", status: "fail", detail, cure: "barecell needs Linux on x86-64." };
}

function checkDevice(host: DoctorHost): Check {
  const name = "/dev/kvm";
  const access = host.access(name);
  if (access === "ok") return { name, status: "ok", detail: "present, and may be opened" };
  if (access === "denied") {
    return {
      name,
      status: "fail",
      detail: "present, but this user may not open it",
      cure: errorTable.BARECELL_KVM_PERMISSION.cure,
    };
  }
  return { name, status: "fail", detail: "does not exist", cure: missingDeviceCure(cpuFlags(host)) };
}

/** Which of the three causes it is, as far as the processor's flags tell. */
function missingDeviceCure(flags: ReadonlySet<string>): string {
  if (flags.has("vmx"))
    return "Load the module: modprobe kvm_intel. In a container: pass the device (--device /dev/kvm).";
  if (flags.has("svm"))
    return "Load the module: modprobe kvm_amd. In a container: pass the device (--device /dev/kvm).";
  if (flags.has("hypervisor")) {
    return "This is a VM whose processor shows no virtualisation: enable nested virtualisation for it, or use a host with PVM. In a container: pass the device (--device /dev/kvm).";
  }
  return "Enable virtualisation (VT-x or AMD-V) in the firmware, then load kvm_intel or kvm_amd.";
}

function checkKvm(host: DoctorHost): { check: Check; probe?: NativeProbe } {
  const name = "KVM";
  try {
    const probe = host.probe();
    const features = [
      `API version ${probe.apiVersion}`,
      `${probe.memorySlots} memory slots`,
      `at most ${probe.maxVcpus} vCPUs`,
      `XSAVE ${probe.hasXsave ? "yes" : "no"}`,
      ...(probe.emulatedSvm ? ["emulated SVM"] : []),
    ];
    return { check: { name, status: "ok", detail: features.join(", ") }, probe };
  } catch (error) {
    const isDevice =
      isBarecellError(error) &&
      (error.code === "BARECELL_KVM_MISSING" || error.code === "BARECELL_KVM_PERMISSION") &&
      host.access("/dev/kvm") !== "ok";
    if (isDevice) return { check: { name, status: "skip", detail: "not asked, because of: /dev/kvm" } };
    const isAddon = isBarecellError(error) && error.code === "BARECELL_ADDON_MISSING";
    return { check: failed(isAddon ? "addon" : name, "fail", error) };
  }
}

function failed(name: string, status: "warn" | "fail", error: unknown): Check {
  const cure = isBarecellError(error) ? (error as BarecellError).cure : errorTable.BARECELL_INTERNAL.cure;
  return { name, status, detail: errorText(error), cure };
}

function checkProcessor(host: DoctorHost): Check {
  const name = "processor";
  const flags = cpuFlags(host);
  const missing = missingFlags("x86-64-v2", flags);
  if (missing.length > 0) {
    return {
      name,
      status: "fail",
      detail: `lacks ${missing.join(", ")} of x86-64-v2`,
      cure: "Use a processor of the last decade; in a VM, give it a processor model with SSE4.2 and POPCNT.",
    };
  }
  const beyond = missingFlags("x86-64-v3", flags);
  const detail =
    beyond.length === 0
      ? "runs x86-64-v2 and x86-64-v3"
      : `runs x86-64-v2 (for v3 it lacks ${beyond.join(", ")})`;
  return { name, status: "ok", detail };
}

/** No compiler is no failure: images that were compiled elsewhere run without one. */
async function checkCompiler(host: DoctorHost): Promise<Check> {
  const name = "C compiler";
  try {
    const { path, version } = await host.compiler();
    return { name, status: "ok", detail: `${path}: ${version}` };
  } catch (error) {
    return failed(name, "warn", error);
  }
}

function checkSimde(host: DoctorHost): Check {
  const name = "SIMDe headers";
  try {
    return { name, status: "ok", detail: `in ${host.simde()}` };
  } catch {
    return {
      name,
      status: "warn",
      detail: "not found; modules that use SIMD cannot be compiled",
      cure: "Install them; on Debian or Ubuntu: apt-get install libsimde-dev.",
    };
  }
}

function checkCache(host: DoctorHost): Check {
  const name = "cache";
  try {
    const free = host.freeBytes(host.cacheFolder);
    const detail = `${host.cacheFolder}, ${spellBytes(free)} free`;
    if (free >= LOW_SPACE_BYTES) return { name, status: "ok", detail };
    return {
      name,
      status: "warn",
      detail,
      cure: "Free some space, or set XDG_CACHE_HOME to a place with room.",
    };
  } catch (error) {
    return {
      name,
      status: "warn",
      detail: `${host.cacheFolder} cannot be written to: ${errorText(error)}`,
      cure: "Set XDG_CACHE_HOME to a folder of your own, or use --no-cache.",
    };
  }
}

function checkLimits(host: DoctorHost): Check[] {
  const limits = readHostLimits((path) => host.readText(path));
  const { openFiles, mappings, systemThreads, threadsOfVm } = limits;
  const threads: Check = {
    name: "threads",
    status: "ok",
    detail: `at most ${systemThreads.value} in all (${systemThreads.name}); KVM makes ${threadsOfVm === 0 ? "none" : "one"} for each VM`,
  };
  return [
    limit(
      "open files",
      openFiles,
      vmsWithin("openFiles", openFiles),
      USUAL_FILES,
      "Raise the limit (ulimit -Hn, LimitNOFILE= of a systemd unit); every VM takes two descriptors.",
    ),
    limit(
      "memory maps",
      mappings,
      vmsWithin("mappings", mappings),
      USUAL_MAPS,
      `Raise it (sysctl vm.max_map_count=${USUAL_MAPS}); every VM takes four to eight maps.`,
    ),
    Number.isFinite(systemThreads.value)
      ? threads
      : { name: "threads", status: "skip", detail: "the limits could not be read" },
  ];
}

function limit(name: string, value: number, vms: number, usual: number, cure: string): Check {
  if (!Number.isFinite(value))
    return { name, status: "skip", detail: "the limit could not be read, or is none" };
  const isLow = value < usual;
  return {
    name,
    status: isLow ? "warn" : "ok",
    detail: `at most ${value} in a process, enough for ${vms} VMs in one`,
    ...(isLow ? { cure } : {}),
  };
}

/** PAGEMAP_SCAN, which tells what a guest touched (native/page_scan.h). */
const SCAN_SINCE = [6, 7] as const;

/** Without them everything works, and a guest waits ten times as long for memory that it touches for the first time. */
function checkLargePages(host: DoctorHost): Check {
  const name = "large pages";
  const path = "/sys/kernel/mm/transparent_hugepage/enabled";
  const setting = /\[(\w+)\]/.exec(host.readText(path) ?? "")?.[1];
  if (setting === undefined || setting === "never") {
    return {
      name,
      status: "warn",
      detail:
        setting === undefined
          ? "this kernel has none; large memories are slow to touch for the first time"
          : `switched off (${path}); large memories are slow to touch for the first time`,
      cure:
        setting === undefined ? "Use a kernel with CONFIG_TRANSPARENT_HUGEPAGE." : `echo madvise > ${path}`,
    };
  }
  const release = host.readText("/proc/sys/kernel/osrelease")?.trim() ?? "";
  const [major = 0, minor = 0] = release.split(".").map(Number);
  if (major < SCAN_SINCE[0] || (major === SCAN_SINCE[0] && minor < SCAN_SINCE[1])) {
    return {
      name,
      status: "warn",
      detail: `not used with Linux ${release}, which cannot say what a guest touched; large memories are slow to touch for the first time`,
      cure: "Use Linux 6.7 or newer.",
    };
  }
  return { name, status: "ok", detail: `for linear memory beyond 2 MiB (${setting})` };
}

async function checkBoot(host: DoctorHost): Promise<Check[]> {
  let times: number[];
  try {
    times = (await host.trialBoots()).sort((a, b) => a - b);
  } catch (error) {
    return [failed("boot", "fail", error)];
  }
  const median = times[Math.floor(times.length / 2)] ?? 0;
  const detail = `creating a VM takes ${Math.round(median)} µs (median of ${times.length})`;
  const booted: Check = {
    name: "boot",
    status: "ok",
    detail: `booted ${times.length} microVMs, and called a function`,
  };
  if (median <= SLOW_CREATE_US) return [booted, { name: "VM creation", status: "ok", detail }];
  return [booted, { name: "VM creation", status: "warn", detail, cure: slowCreationCure(host) }];
}

/** With the mitigation of iTLB multihit on, KVM starts a thread for each VM and moves it into the caller's cgroup, which can wait long. */
function slowCreationCure(host: DoctorHost): string {
  const advice: string[] = [];
  const parameter = "/sys/module/kvm/parameters/nx_huge_pages";
  const nx = host.readText(parameter)?.trim();
  if (nx !== undefined && nx !== "never") {
    advice.push(
      `where the processor is not affected by iTLB multihit: echo never > ${parameter} (kvm.nx_huge_pages=never at boot)`,
    );
  }
  const cgroup = /^\S+ (\S+) cgroup2 (\S+)/m.exec(host.readText("/proc/mounts") ?? "");
  if (cgroup && !cgroup[2]?.split(",").includes("favordynmods")) {
    advice.push(`mount -o remount,favordynmods ${cgroup[1]}`);
  }
  if (advice.length === 0)
    return "Keep VMs instead of making new ones; what slows KVM_CREATE_VM here is not known.";
  return `Try: ${advice.join("; or: ")}.`;
}
