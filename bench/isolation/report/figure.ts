/** The report's main picture alone, for a README: brings its own colours, and is light or dark as its reader's system is. */
import type { IsolationReport } from "../result.ts";
import { PALETTE, variables } from "./colors.ts";
import type { Draw } from "./draw.ts";
import { isolationChart } from "./isolation-chart.ts";
import { mainWorkload } from "./view.ts";

/** @returns null if nothing was measured. `draw` must be one that drew nothing yet, so that the same report gives the same file */
export async function renderFigure(report: IsolationReport, draw: Draw): Promise<string | null> {
  const spec = isolationChart(report, mainWorkload(report) ?? "", "wide");
  if (spec === null) return null;
  const svg = await draw(spec);
  const style = `<style>:root{${variables("light")}}@media(prefers-color-scheme:dark){:root{${variables("dark")}}}</style>`;
  const paper = `<rect width="100%" height="100%" rx="6" style="fill:var(--paper,${PALETTE.light["--paper"]})"/>`;
  return `${svg.replace(/^<svg[^>]*>/, (open) => `${open}${style}${paper}`)}\n`;
}
