/** What a boot spent its time on: the host's steps, then the guest's stages as it stamped them itself. */
import type { NativeTimeline } from "./addon.ts";

export interface TimelineStep {
  readonly name: string;
  /** Who did it. */
  readonly side: "host" | "guest";
  /** Microseconds since the boot began, and what the step took. */
  readonly startUs: number;
  readonly durationUs: number;
}

export interface Timeline {
  readonly steps: readonly TimelineStep[];
  /** From the first step to a guest that is ready for calls. */
  readonly totalUs: number;
}

const GUEST_STAGES: readonly string[] = [
  "real mode to protected mode",
  "protected mode to long mode",
  "long mode to the image's page tables",
  "GDT, IDT, TSS",
  "iretq to ring 3",
  "module's own start",
];

export function describeTimeline(native: NativeTimeline): Timeline {
  const host: readonly (readonly [string, number])[] = [
    ["create VM", native.vmCreatedNs],
    ["create vCPU", native.vcpuCreatedNs],
    ["CPUID and MSRs", native.cpuidSetNs],
    // Another thread began with it when the VM was there, if there is one: what is left to wait for.
    ["memory and its slots", native.memoryGivenNs],
    ["registers", native.registersSetNs],
  ];
  const steps: TimelineStep[] = [];
  let previous = 0;
  for (const [name, at] of host) {
    steps.push({ name, side: "host", startUs: previous / 1000, durationUs: (at - previous) / 1000 });
    previous = at;
  }
  const guest = guestSteps(native);
  const run = (native.readyNs - previous) / 1000;
  const guestUs = guest.reduce((sum, step) => sum + step.durationUs, 0);
  // The first stamp is taken by the guest's first instruction and the last before it leaves; what is left are the entry and the exit.
  let at = previous / 1000 + Math.max(0, run - guestUs) / 2;
  steps.push({
    name: "enter the guest",
    side: "host",
    startUs: previous / 1000,
    durationUs: at - previous / 1000,
  });
  for (const step of guest) {
    steps.push({ name: step.name, side: "guest", startUs: at, durationUs: step.durationUs });
    at += step.durationUs;
  }
  steps.push({
    name: "leave the guest",
    side: "host",
    startUs: at,
    durationUs: Math.max(0, native.readyNs / 1000 - at),
  });
  return { steps, totalUs: native.readyNs / 1000 };
}

function guestSteps(native: NativeTimeline): { name: string; durationUs: number }[] {
  if (native.tscKhz === 0) return [];
  const stamps = native.guestTsc;
  return GUEST_STAGES.flatMap((name, i) => {
    const from = stamps[i] ?? 0;
    // A direct boot has no stamps before ring 3.
    if (from === 0) return [];
    // Only the low 32 bits are kept; the difference is right all the same.
    const cycles = ((stamps[i + 1] ?? 0) - from) >>> 0;
    return [{ name, durationUs: (cycles / native.tscKhz) * 1000 }];
  });
}
