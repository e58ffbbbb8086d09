/** What the process holds, and whether it holds more and more of it. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface Resources {
  readonly rssBytes: number;
  readonly descriptors: number;
  /** Of VMs; the addon keeps a spare one. */
  readonly vms: number;
  readonly vcpus: number;
  readonly threads: number;
}

export function resources(): Resources {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the descriptor of the listing itself
    }
  });
  return {
    rssBytes: Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024,
    descriptors: links.length,
    vms: links.filter((link) => link === "anon_inode:kvm-vm").length,
    vcpus: links.filter((link) => link.startsWith("anon_inode:kvm-vcpu")).length,
    threads: readdirSync("/proc/self/task").length,
  };
}

export interface Sample extends Resources {
  readonly runs: number;
}

/** The median of the slopes between all pairs (Theil and Sen), bytes for each run: a few outliers do not move it. Undefined for fewer than four samples. */
export function growthPerRun(samples: readonly Sample[]): number | undefined {
  if (samples.length < 4) return undefined;
  const slopes: number[] = [];
  for (const [i, a] of samples.entries()) {
    for (const b of samples.slice(i + 1)) {
      if (b.runs > a.runs) slopes.push((b.rssBytes - a.rssBytes) / (b.runs - a.runs));
    }
  }
  slopes.sort((a, b) => a - b);
  return slopes[Math.floor(slopes.length / 2)];
}

/** Heaps breathe; a leak of 350 bytes for each run shows in 100,000. */
const MAX_GROWTH_BYTES = 32 * 2 ** 20;
/** Until here caches, pools and compiled code are still being filled. */
const WARM_UP = 0.25;

export function afterWarmUp(samples: readonly Sample[]): readonly Sample[] {
  return samples.slice(Math.ceil(samples.length * WARM_UP));
}

/** @returns a complaint if memory grew over the samples */
export function growthComplaint(samples: readonly Sample[]): string | undefined {
  const warm = afterWarmUp(samples);
  const slope = growthPerRun(warm);
  const [first, last] = [warm[0], warm.at(-1)];
  if (slope === undefined || !first || !last) return undefined;
  const growth = slope * (last.runs - first.runs);
  if (growth <= MAX_GROWTH_BYTES) return undefined;
  return `memory grows: ${slope.toFixed(0)} bytes a run, ${(growth / 2 ** 20).toFixed(1)} MiB in ${last.runs - first.runs} runs`;
}

/** What must not be there when no VM is: complaints. @param most what may be; its memory does not count */
export function leftComplaints(most: Resources, now: Resources, when: string): string[] {
  const complaints: string[] = [];
  for (const what of ["vms", "vcpus", "descriptors", "threads"] as const) {
    if (now[what] > most[what])
      complaints.push(`${when}: ${what} ${now[what]}, and ${most[what]} at most should be there`);
  }
  return complaints;
}

/** What a first round may add for good. */
export function withSpare(before: Resources): Resources {
  // The addon's spare VM with its vCPU, and /dev/kvm; threads that Node starts when it first needs them.
  return { ...before, vms: 1, vcpus: 1, descriptors: before.descriptors + 3, threads: before.threads + 2 };
}
