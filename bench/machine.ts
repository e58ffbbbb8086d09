/** The machine that was measured on: figures mean nothing without it. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { inProject } from "./paths.ts";

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly v8: string;
  readonly compiler: string;
  readonly kvm: "bare metal" | "nested" | "PVM" | "none";
  readonly mitigations: Readonly<Record<string, string>>;
  readonly hugePages: string;
  readonly barecell: string;
  readonly commit: string;
  /** Load average of the last minute, before the first scenario: other work makes figures worse. */
  readonly load: number;
  /** VMs of other processes, before the first scenario (of those that may be looked at): they make creating and closing VMs faster. */
  readonly liveVms: number;
}

export function describeMachine(): Machine {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    v8: process.versions.v8,
    compiler: firstLine(process.env["CC"] ?? "cc", ["--version"]),
    kvm: kvmKind(),
    mitigations: mitigations(),
    hugePages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
    barecell: (JSON.parse(readFileSync(inProject("package.json"), "utf8")) as { version: string }).version,
    commit: firstLine("git", ["-C", inProject(), "describe", "--always", "--dirty"]),
    load: loadavg()[0] ?? 0,
    liveVms: countLiveVms(),
  };
}

function countLiveVms(): number {
  const processes = list("/proc").filter((name) => /^\d+$/.test(name));
  return processes
    .flatMap((id) => list(`/proc/${id}/fd`).map((fd) => `/proc/${id}/fd/${fd}`))
    .filter((fd) => linkTarget(fd) === "anon_inode:kvm-vm").length;
}

/** A process may end, or not be ours to look at. */
function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function kvmKind(): Machine["kvm"] {
  if (!existsSync("/dev/kvm")) return "none";
  if (existsSync("/sys/module/kvm_pvm")) return "PVM";
  // Set by every hypervisor for its guests (CPUID 1, ECX bit 31).
  return /^flags\s*:.*\bhypervisor\b/m.test(read("/proc/cpuinfo")) ? "nested" : "bare metal";
}

/** What the kernel does against faults of the processor, where it does something or should. */
function mitigations(): Record<string, string> {
  const folder = "/sys/devices/system/cpu/vulnerabilities";
  return Object.fromEntries(
    list(folder)
      .map((name) => [name, read(`${folder}/${name}`)] as const)
      .filter(([, state]) => state !== "Not affected" && state !== ""),
  );
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

function firstLine(program: string, options: readonly string[]): string {
  try {
    const output = execFileSync(program, options, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return output.split("\n")[0] ?? "";
  } catch {
    return "unknown";
  }
}
