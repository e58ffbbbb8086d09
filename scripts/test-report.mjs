// Reads vitest's JSON reports for `npm test`: counts, and what is worth saying at the end.
import { readFileSync } from "node:fs";
import { relative } from "node:path";

/** @returns the report, or undefined if there is none or it is no JSON */
export function readReport(path) {
  try {
    const report = JSON.parse(readFileSync(path, "utf8"));
    return Array.isArray(report.testResults) ? report : undefined;
  } catch {
    return undefined;
  }
}

const tests = (report) => report.testResults.flatMap((file) => file.assertionResults);

const isSkipped = ({ status }) => status === "pending" || status === "skipped" || status === "todo";

export function counts(report) {
  const all = tests(report);
  return {
    passed: all.filter(({ status }) => status === "passed").length,
    failed: all.filter(({ status }) => status === "failed").length,
    skipped: all.filter(isSkipped).length,
  };
}

export const skippedNames = (report) =>
  tests(report)
    .filter(isSkipped)
    .map(({ fullName }) => fullName);

/** @returns name and the message's first line of each test that failed */
export const failures = (report) =>
  tests(report)
    .filter(({ status }) => status === "failed")
    .map(
      ({ fullName, failureMessages }) =>
        `${fullName}: ${failureMessages?.[0]?.split("\n")[0] ?? "no message"}`,
    );

/**
 * @param expected paths of all files of the run, as seen from the working directory
 * @returns those in which something failed, or that could not be loaded, or that the report lacks since their worker failed; all of them if it is none of these that
 * made the run fail
 */
export function filesToRepeat(report, expected) {
  const passed = new Set(
    report.testResults
      .filter(({ status }) => status === "passed")
      .map(({ name }) => relative(process.cwd(), name)),
  );
  const others = expected.filter((path) => !passed.has(path));
  return others.length > 0 ? others : expected;
}

/** @returns the first report, but of the files in the second what that one says */
export function withRepeated(first, second) {
  const repeated = new Set(second.testResults.map(({ name }) => name));
  return {
    testResults: [...first.testResults.filter(({ name }) => !repeated.has(name)), ...second.testResults],
  };
}
