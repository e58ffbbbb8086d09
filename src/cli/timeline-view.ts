/** The timeline of a boot as a table with a bar for each step. */
import type { Timeline } from "../vm/timeline.ts";
import { columns, hasUnicode, type Terminal } from "./terminal.ts";

const BAR_WIDTH = 40;

/** What came before and after the boot, microseconds. */
export interface RunTimes {
  readonly compileUs: number;
  readonly callUs: number | undefined;
  readonly totalUs: number;
}

/** Prints the host's steps and the guest's stages in their order, then the whole run. */
export function printTimeline(terminal: Terminal, boot: string, timeline: Timeline, times: RunTimes): void {
  const { steps, totalUs } = timeline;
  const block = hasUnicode() ? "█" : "#";
  const text = columns(
    steps.map((step) => [step.side, step.name, spellUs(step.durationUs), "µs"]),
    [2],
  );
  terminal.line(terminal.style("bold", `boot (${boot}): ${spellUs(totalUs)} µs`));
  steps.forEach((step, i) => {
    const bar = barOf(step.startUs, step.durationUs, totalUs, block);
    terminal.line(`  ${text[i]}  ${terminal.style(step.side === "guest" ? "green" : "cyan", bar)}`.trimEnd());
  });
  const call = times.callUs === undefined ? "" : `, call ${spellUs(times.callUs)} µs`;
  terminal.line(
    `compile or load ${spellUs(times.compileUs)} µs, boot ${spellUs(totalUs)} µs${call}, in all ${spellUs(times.totalUs)} µs`,
  );
}

const spellUs = (us: number): string => us.toFixed(1);

/** Where in the boot the step lies; the shortest step is still seen. */
function barOf(startUs: number, durationUs: number, totalUs: number, block: string): string {
  if (totalUs <= 0) return "";
  const from = Math.min(BAR_WIDTH - 1, Math.floor((startUs / totalUs) * BAR_WIDTH));
  const to = Math.min(BAR_WIDTH, Math.round(((startUs + durationUs) / totalUs) * BAR_WIDTH));
  return " ".repeat(from) + block.repeat(Math.max(1, to - from));
}
