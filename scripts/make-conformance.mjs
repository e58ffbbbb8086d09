// Writes the table of conformance into README.md, between its two markers, from a report of the official scripts:
//   npm run spec -- --json build/spec.json && node scripts/make-conformance.mjs build/spec.json
// `--check` writes nothing and fails if the table is not what the report says; `--readme FILE` is for tests.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const BEGIN = "<!-- conformance: made by scripts/make-conformance.mjs -->";
const END = "<!-- /conformance -->";

/** @returns the folder of a file's name: what the table has a line for */
const folderOf = (file) => {
  const parts = file.split("/");
  // Test cases one by one in folders of their own are one line.
  return parts[0] === "robustness" ? parts.slice(0, 2).join("/") : parts.slice(0, -1).join("/") || ".";
};

const shortReason = (reason) =>
  reason.replace(/ \(the module of line.*/, "").replace(/^(wabt cannot parse it(?: \([^)]*\))?): .*/, "$1");

function summarize(report) {
  const folders = new Map();
  const of = (file) => {
    const name = folderOf(file);
    const known = folders.get(name) ?? { files: 0, passed: 0, failed: 0, skipped: 0, reasons: new Map() };
    folders.set(name, known);
    return known;
  };
  for (const { file } of report.files) of(file).files++;
  for (const { file, outcome, reason } of report.assertions) {
    const folder = of(file);
    folder[outcome]++;
    if (outcome !== "skipped") continue;
    const short = shortReason(reason);
    folder.reasons.set(short, (folder.reasons.get(short) ?? 0) + 1);
  }
  return [...folders].sort(([a], [b]) => (a < b ? -1 : 1));
}

const number = (value) => value.toLocaleString("en-US");

function why(reasons) {
  const sorted = [...reasons].sort(([, a], [, b]) => b - a);
  if (sorted.length === 1) return sorted[0][0];
  return sorted.map(([reason, times]) => `${reason} (${number(times)})`).join("; ");
}

function table(report) {
  const rows = summarize(report).map(([name, { files, passed, failed, skipped, reasons }]) => {
    const total = passed + failed + skipped;
    return `| ${name} | ${files} | ${[total, passed, failed, skipped].map(number).join(" | ")} | ${why(reasons)} |`;
  });
  const { passed, failed, skipped } = report.totals;
  const totals = [passed + failed + skipped, passed, failed, skipped].map(number).join(" | ");
  return [
    "| scripts | files | commands | passed | failed | skipped | why |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...rows,
    `| **all** | ${report.files.length} | ${totals} | |`,
  ].join("\n");
}

function replaceTable(text, made) {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END, begin);
  if (begin < 0 || end < 0) throw new Error(`the file has no lines '${BEGIN}' and '${END}'`);
  return `${text.slice(0, begin + BEGIN.length)}\n\n${made}\n\n${text.slice(end)}`;
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { check: { type: "boolean", default: false }, readme: { type: "string" } },
  });
  if (positionals.length !== 1)
    throw new Error("it takes one report, as `npm run spec -- --json FILE` writes it");
  const path = values.readme ?? fileURLToPath(new URL("../README.md", import.meta.url));
  const before = readFileSync(path, "utf8");
  const after = replaceTable(before, table(JSON.parse(readFileSync(positionals[0], "utf8"))));
  if (after === before) return;
  if (values.check) throw new Error("the table is not what the report says");
  writeFileSync(path, after);
  process.stdout.write(`wrote the table of conformance to ${path}\n`);
}

try {
  main();
} catch (error) {
  process.stderr.write(`make-conformance: ${error.message}\n`);
  process.exitCode = 1;
}
