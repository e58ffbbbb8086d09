/** What VMs take of the limits of the operating system, per process and in all, and whether there is enough. */
import { readFileSync } from "node:fs";
import { availableMemory } from "node:process";
import { BarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { BootOptions } from "../vm/options.ts";
import type { CheckedWorkerPoolOptions } from "./options.ts";

/** Of one VM. */
export interface VmNeeds {
  readonly descriptors: number;
  readonly mappings: number;
}

/** A process of Node with barecell and without VMs: some 20 descriptors, 150 mappings and 14 threads; more for what host functions open. */
const BASE: VmNeeds = { descriptors: 128, mappings: 1000 };
const BASE_THREADS = 16;
const BASE_MEMORY_BYTES = 40 * 2 ** 20;
/** Memory of the kernel (540 KiB measured), and of the process for what a VM has of its own. */
const VM_MEMORY_BYTES = 640 * 1024;
/** A thread that runs a VM: its stack, and the guard below. */
const THREAD_MAPPINGS = 2;
/** KVM makes a thread in the process for each VM that runs (kvm-nx-lpage-recovery), unless it is told never to need one. */
const KVM_THREADS = 1;

/** Of a VM without grants, as nearly all are. */
export const TYPICAL_NEEDS: VmNeeds = { descriptors: 2, mappings: 6 };

/** At most; what a guest opens for itself comes on top. */
export function needsOf(image: Image, vm: BootOptions): VmNeeds {
  // The VM and its vCPU; each directory of the host, for the guest and for a reset.
  const preopens = Object.values(vm.wasi?.preopens ?? {}).filter(
    (grant) => !("memoryBytes" in Object(grant)),
  ).length;
  const { segments, memories } = image.layout;
  // Every segment with contents may be a mapping between two others; kvm_run, the page at 0 and the end; of each memory what it has, may get, and the tables
  // for that.
  const contents = segments.filter(({ fileBytes }) => fileBytes > 0);
  const runs = contents.filter((segment) => !contents.some((other) => isFollowedBy(other, segment))).length;
  return { descriptors: 2 + 2 * preopens, mappings: 3 + 2 * runs + 3 * memories.length };
}

interface Run {
  readonly physical: number;
  readonly fileBytes: number;
  readonly memory?: number | undefined;
}

const PAGE_BYTES = 4096;

/** Neighbours are one mapping. */
function isFollowedBy(one: Run, other: Run): boolean {
  const end = one.physical + Math.ceil(one.fileBytes / PAGE_BYTES) * PAGE_BYTES;
  return one !== other && one.memory === other.memory && end === other.physical;
}

/** Reads a file of the system's; undefined if it cannot be read. */
export type ReadText = (path: string) => string | undefined;

const readSystem: ReadText = (path) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
};

/** Limits as they hold for a process. Infinity: none, or not known. */
export interface HostLimits {
  /** What a process of Node may open: it raises its soft limit to the hard one when it starts. */
  readonly openFiles: number;
  readonly mappings: number;
  /** Of the user; root has none. */
  readonly userThreads: number;
  readonly systemFiles: number;
  /** The least of several: kernel.threads-max, kernel.pid_max, and pids.max of the control group. */
  readonly systemThreads: { readonly value: number; readonly name: string };
  readonly threadsOfVm: number;
}

export function readHostLimits(readText: ReadText = readSystem): HostLimits {
  const limits = readText("/proc/self/limits") ?? "";
  const hard = (name: string): number =>
    number(new RegExp(`^${name}\\s+\\S+\\s+(\\S+)`, "m").exec(limits)?.[1]);
  const soft = (name: string): number => number(new RegExp(`^${name}\\s+(\\S+)`, "m").exec(limits)?.[1]);
  return {
    openFiles: hard("Max open files"),
    mappings: number(readText("/proc/sys/vm/max_map_count")),
    userThreads: process.geteuid?.() === 0 ? Number.POSITIVE_INFINITY : soft("Max processes"),
    systemFiles: number(readText("/proc/sys/fs/file-max")),
    systemThreads: leastOf([
      ...["threads-max", "pid_max"].map((name) => ({
        name: `kernel.${name}`,
        value: number(readText(`/proc/sys/kernel/${name}`)),
      })),
      { name: "pids.max of the control group", value: groupThreads(readText) },
    ]),
    threadsOfVm: readText("/sys/module/kvm/parameters/nx_huge_pages")?.trim() === "never" ? 0 : KVM_THREADS,
  };
}

function leastOf<T extends { readonly value: number }>(limits: readonly T[]): T {
  return limits.reduce((least, limit) => (limit.value < least.value ? limit : least));
}

/** Of the process's own group; those around it may have others. */
function groupThreads(readText: ReadText): number {
  const groups = readText("/proc/self/cgroup") ?? "";
  const unified = /^0::(\/.*)$/m.exec(groups)?.[1];
  const old = /^\d+:pids:(\/.*)$/m.exec(groups)?.[1];
  return Math.min(
    number(unified === undefined ? undefined : readText(`/sys/fs/cgroup${unified}/pids.max`)),
    number(old === undefined ? undefined : readText(`/sys/fs/cgroup/pids${old}/pids.max`)),
  );
}

function number(text: string | undefined): number {
  const value = Number(text?.trim() || Number.NaN);
  return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
}

/** How many VMs a process may have under one limit. */
export function vmsWithin(
  limit: "openFiles" | "mappings",
  value: number,
  needs: VmNeeds = TYPICAL_NEEDS,
): number {
  const room =
    limit === "openFiles"
      ? (value - BASE.descriptors) / needs.descriptors
      : (value - BASE.mappings) / (needs.mappings + THREAD_MAPPINGS);
  return Math.max(0, Math.floor(room));
}

interface Demand {
  readonly what: string;
  readonly has: number;
  readonly needs: number;
  readonly cure: string;
}

/**
 * Before anything is started.
 * @throws BARECELL_HOST_LIMIT naming the limit, its value, the value that is needed, and what raises it
 */
export function requireHostLimits(
  options: CheckedWorkerPoolOptions,
  limits: HostLimits = readHostLimits(),
): void {
  for (const { what, has, needs, cure } of demands(options, limits)) {
    if (needs <= has) continue;
    const { pool, shares } = options;
    throw new BarecellError(
      "BARECELL_HOST_LIMIT",
      `${pool.max} VMs in ${shares.length} process${shares.length === 1 ? "" : "es"} need ${what} of ${needs}, and it is ${has}; ${cure}`,
    );
  }
}

function demands({ pool, shares }: CheckedWorkerPoolOptions, limits: HostLimits): Demand[] {
  const each = pool.images.map(({ image, vm }) => needsOf(image, vm));
  const descriptors = Math.max(...each.map((needs) => needs.descriptors));
  const mappings = Math.max(...each.map((needs) => needs.mappings));
  const most = Math.max(...shares.map(({ max }) => max));
  const processes = shares.length;
  const files = BASE.descriptors + pool.images.length + most * descriptors;
  const maps = BASE.mappings + most * (mappings + THREAD_MAPPINGS);
  const allFiles = pool.max * descriptors + processes * BASE.descriptors;
  const threads = processes * BASE_THREADS + pool.max * limits.threadsOfVm;
  const least = pool.images.reduce((sum, { min }) => sum + min, 0);
  return [
    {
      what: "an open-files limit (RLIMIT_NOFILE, the hard one)",
      has: limits.openFiles,
      needs: files,
      cure: `raise it: ulimit -Hn ${files} (root), LimitNOFILE=${files} of a systemd unit; or more processes`,
    },
    {
      what: "vm.max_map_count",
      has: limits.mappings,
      needs: maps,
      cure: `raise it: sysctl -w vm.max_map_count=${maps}; or more processes`,
    },
    {
      what: "fs.file-max",
      has: limits.systemFiles,
      needs: allFiles,
      cure: `raise it: sysctl -w fs.file-max=${allFiles}`,
    },
    {
      what: "a limit of the user's processes and threads (RLIMIT_NPROC)",
      has: limits.userThreads,
      needs: threads,
      cure: `raise it: ulimit -u ${threads}`,
    },
    {
      what: limits.systemThreads.name,
      has: limits.systemThreads.value,
      needs: threads,
      cure: `raise it: ${limits.systemThreads.name.startsWith("kernel.") ? `sysctl -w ${limits.systemThreads.name}=${threads}` : `TasksMax=${threads} of a systemd unit`}`,
    },
    {
      what: `available memory for the ${least} VMs made ahead (min), in bytes,`,
      has: availableMemory(),
      needs: processes * BASE_MEMORY_BYTES + least * VM_MEMORY_BYTES,
      cure: "lower min, or give the machine or the control group more memory",
    },
  ];
}
