/** What a soak run tells: progress, figures, complaints. */
import { afterWarmUp, growthPerRun, type Sample } from "./resources.ts";

export interface SoakReport {
  readonly seed: number;
  readonly runs: number;
  readonly seconds: number;
  readonly runsPerSecond: number;
  readonly guests: number;
  readonly workersTerminated: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly rss: {
    readonly firstBytes: number;
    readonly lastBytes: number;
    readonly bytesPerRun: number | null;
  };
  readonly descriptors: readonly [least: number, most: number];
  readonly threads: readonly [least: number, most: number];
  readonly vms: readonly [least: number, most: number];
  readonly failures: readonly string[];
}

const range = (values: readonly number[]): [number, number] => [Math.min(...values), Math.max(...values)];

export function rssOf(samples: readonly Sample[]): SoakReport["rss"] {
  const warm = afterWarmUp(samples);
  return {
    firstBytes: warm[0]?.rssBytes ?? 0,
    lastBytes: warm.at(-1)?.rssBytes ?? 0,
    bytesPerRun: growthPerRun(warm) ?? null,
  };
}

export function ranges(samples: readonly Sample[]): Pick<SoakReport, "descriptors" | "threads" | "vms"> {
  return {
    descriptors: range(samples.map((one) => one.descriptors)),
    threads: range(samples.map((one) => one.threads)),
    vms: range(samples.map((one) => one.vms)),
  };
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

export function toText(report: SoakReport): string {
  const ends = Object.entries(report.ends).sort(([, a], [, b]) => b - a);
  const { rss } = report;
  const slope =
    rss.bytesPerRun === null ? "too few samples for a slope" : `${rss.bytesPerRun.toFixed(1)} bytes a run`;
  return [
    ...ends.map(([kind, count]) => `${String(count).padStart(9)}  ${kind}`),
    `${report.runsPerSecond.toFixed(0)} runs/s for ${report.seconds.toFixed(0)} s, ${report.guests} hostile guests, ${report.workersTerminated} workers terminated at work`,
    `memory ${mib(rss.firstBytes)} after warm-up, ${mib(rss.lastBytes)} at the end (${slope})`,
    `between rounds: descriptors ${report.descriptors.join(" to ")}, threads ${report.threads.join(" to ")}, VMs ${report.vms.join(" to ")}`,
    ...report.failures.map((failure) => `FAILED: ${failure}`),
    `${report.runs} runs, ${report.failures.length} failures`,
  ].join("\n");
}
