/** Writes the report's files. What was measured is not lost if there is no room for it. */
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BarecellError } from "barecell";
import { errorText } from "../../peers/support/error-text.ts";
import type { IsolationReport } from "../result.ts";
import { renderCsv } from "./csv.ts";
import { type Draw, loadDraw } from "./draw.ts";
import { renderMarkdown } from "./markdown.ts";
import { renderPage } from "./page.ts";

/** Before minutes are spent on measuring. @throws BARECELL_FILE_UNWRITABLE */
export function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    const probe = join(folder, `.probe.${process.pid}`);
    writeFileSync(probe, "x");
    rmSync(probe);
  } catch (error) {
    throw new BarecellError("BARECELL_FILE_UNWRITABLE", `cannot write to ${folder}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** @returns the paths of report.json, .csv, .md and .html. @throws BARECELL_FILE_UNWRITABLE */
export async function writeReport(report: IsolationReport, folder: string): Promise<string[]> {
  const draw: Draw = await loadDraw();
  const json = `${JSON.stringify(report)}\n`;
  const files: [string, string][] = [
    ["report.json", json],
    ["report.csv", renderCsv(report)],
    ["report.md", renderMarkdown(report)],
    ["report.html", await renderPage(report, draw)],
  ];
  const written: string[] = [];
  try {
    for (const [name, text] of files) {
      const path = join(folder, name);
      written.push(path);
      writeFileSync(path, text);
    }
    return written;
  } catch (error) {
    // Half a file is worse than none.
    const broken = written.pop();
    if (broken !== undefined) rmSync(broken, { force: true });
    throw new BarecellError(
      "BARECELL_FILE_UNWRITABLE",
      `cannot write ${broken ?? folder}: ${errorText(error)}; ${rescue(json)}`,
      { cause: error },
    );
  }
}

/** @returns where the figures are now */
function rescue(json: string): string {
  try {
    const path = join(mkdtempSync(join(tmpdir(), "barecell-report-")), "report.json");
    writeFileSync(path, json);
    return `what was measured is in ${path}`;
  } catch {
    return "and there is no room in the temporary folder either";
  }
}
