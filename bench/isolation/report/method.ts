/** How it was measured, in words; the same in every form of the report. */
import type { IsolationReport } from "../result.ts";

export function methodText(report: IsolationReport): string[] {
  const plan = report.plan as Readonly<Record<string, number>>;
  const of = (name: string): string => String(plan[name] ?? "?");
  return [
    "A request arrives when nothing of it runs yet. Everything that a provider can do ahead for a function is done: it is compiled, its files are in place, measuring programs are warm. For each request there is an instance that no other request has used; the clock runs until the result is in the caller's hands. Every result is checked. What each peer includes and leaves out is in the table of peers.",
    "The same C source is behind all of it: compiled by clang to WebAssembly (the committed .wasm files), and by the system's C compiler with -O2 -static for peers that run native programs. Commands and containers are started and timed by a C program with posix_spawn, so that nothing of Node's is in their times; barecell is measured through its JavaScript API, as users call it.",
    `Peers take turns of about ${of("turnMs")} ms with the same workload, each round beginning with another one, so that a busy moment hits all. ${of("warmUp")} requests warm each up before the first turn (fewer for slow ones), ${of("warmUpPerTurn")} before each turn. Up to ${of("samples")} samples each, at least ${of("leastSamples")}, no more after ${Number(of("budgetMs")) / 1000} s.`,
    'Percentiles are by nearest rank, so each was really measured. No sample is left out: outliers are in p99 and max. Intervals are 95 % bootstrap percentile intervals of the median; "faster" and "slower" are said only where they do not meet.',
    "Ready is when the instance could run the function, result when the caller has it, end when all that the instance held is free again.",
    `Throughput: one or two measuring processes, each pinned to a processor of its own with all that it starts, one request after the other for ${of("throughputMs")} ms. Memory: how much more proportional set size (of the processes) and kernel memory (slabs, page tables, vmalloc, per-CPU areas of the whole system) there is with ${of("heldInstances")} instances that have answered and stay, divided by their number.`,
    `Crash: the function writes where nothing is, and then the next request is tried. Stop: the function never comes back, and the peer's own means are to end it after ${of("stopAfterMs")} ms; "late" is how long after that it was gone.`,
  ];
}

export const PITFALLS: readonly string[] = [
  "On a machine that does something else besides, medians say who else was running. Look at the load, and repeat.",
  "Times of in-process peers leave out what a sandbox must do when a tenant's code is new: compile it. Times of containers leave out the engine above the runtime.",
  "V8's instances are freed by the garbage collector at some later time, which their end does not show; throughput does.",
  "Beside any other live VM on the machine, making and closing a VM is cheaper. All peers with VMs are measured beside others.",
  "Isolation is ordered by kind of wall. Two walls of one kind are not equally strong, and no figure here says how strong one is.",
];
