/** What a run used: for people on standard error, for programs in `--json`. */
import type { VmStats } from "../vm/stats.ts";
import { columns, printableName, spellBytes, type Terminal } from "./terminal.ts";

/** Of this process, from its start: compiling is in it only as far as it happened here. */
function processPeakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** The object `stats` of `--json`. */
export function describeStats(stats: VmStats): object {
  return { ...stats, processPeakBytes: processPeakBytes() };
}

const SHOWN_KVM: readonly string[] = ["exits", "pf_taken", "pf_fixed", "signal_exits", "insn_emulation"];

export function printStats(terminal: Terminal, stats: VmStats): void {
  const { cpu, exits, kvm } = stats;
  const ms = (us: number): string => `${(us / 1000).toFixed(3)} ms`;
  const rows: [string, string][] = [
    [
      "wall time",
      `${ms(stats.wallUs)} for the boot and ${stats.calls} ${stats.calls === 1 ? "call" : "calls"}`,
    ],
  ];
  if (cpu !== undefined) {
    rows.push(
      ["CPU time", `${ms(cpu.userUs + cpu.systemUs)}, of it ${ms(cpu.systemUs)} in the host's kernel`],
      ["page faults", `${cpu.minorFaults} minor, ${cpu.majorFaults} major, of the vCPU's thread`],
    );
  }
  rows.push(
    ["VM exits", `${exits.io} by port, ${exits.mmio} by memory, ${exits.other} other`],
    [
      "memory",
      `${spellBytes(stats.linearBytes)} linear, growth refused ${stats.growthRefusals} times; process at most ${spellBytes(processPeakBytes())}`,
    ],
  );
  const counted = SHOWN_KVM.flatMap((name) => (kvm[name] === undefined ? [] : [`${name} ${kvm[name]}`]));
  if (counted.length > 0) rows.push(["KVM", counted.join(", ")]);
  terminal.line(terminal.style("bold", "used"));
  for (const line of columns(rows)) terminal.line(`  ${line}`);
  const calls = Object.entries(stats.hostCalls).sort(([, one], [, other]) => other - one);
  terminal.line(terminal.style("bold", `host calls: ${calls.reduce((sum, [, count]) => sum + count, 0)}`));
  const table = calls.map(([name, count]) => [String(count), printableName(name)]);
  for (const line of columns(table, [0])) terminal.line(`  ${line}`);
}
