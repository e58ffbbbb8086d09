// Runs the VM tests, or the files named, in a machine with emulated AMD SVM (see tests/svm/README.md). Exit status 3: it cannot be run here, and the message says why.
import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { SVM_FILES, SVM_REPORT } from "./svm-files.mjs";

const files = process.argv.length > 2 ? process.argv.slice(2) : SVM_FILES;
/** Inside the machine, whose file system is thrown away. */
const REPORT = "/tmp/svm-report.json";
const MARK = "--- report ---";

// That of a former run is none of this one.
rmSync(SVM_REPORT, { force: true });

// The machine's file system is thrown away, so the report comes out over standard output, behind a mark.
const inside = `node node_modules/vitest/vitest.mjs run ${files.join(" ")} --no-isolate --reporter=default --reporter=json --outputFile=${REPORT}; status=$?; echo '${MARK}'; cat ${REPORT}; exit $status`;
const child = spawn(
  process.execPath,
  ["tests/svm/run.mjs", "--timeout", "2400", "--memory", "4096", "--", "/bin/sh", "-c", inside],
  { stdio: ["ignore", "pipe", "inherit"] },
);
let output = "";
let reported = false;
child.stdout.setEncoding("utf8");
child.stdout.on("data", (text) => {
  output += text;
  const at = output.indexOf(MARK);
  if (at >= 0) {
    if (!reported) process.stdout.write(output.slice(0, at));
    reported = true;
    output = output.slice(0, MARK.length + at) === output ? output : output.slice(at);
    return;
  }
  // Keep back what could be the beginning of the mark.
  const safe = Math.max(0, output.length - MARK.length);
  process.stdout.write(output.slice(0, safe));
  output = output.slice(safe);
});
child.on("close", (status) => {
  const at = output.indexOf(MARK);
  if (at >= 0) {
    mkdirSync("build/reports", { recursive: true });
    writeFileSync(SVM_REPORT, output.slice(at + MARK.length));
  } else {
    process.stdout.write(output);
  }
  process.exitCode = status ?? 1;
});
