// `npm test`: every check, in an order that tells the cheap news first, and one line of counts at the end. What is skipped is said with its reason.
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { sanitizerEnvironment } from "./sanitizer.mjs";
import { SVM_FILES, SVM_REPORT } from "./svm-files.mjs";
import { counts, failures, filesToRepeat, readReport, skippedNames, withRepeated } from "./test-report.mjs";

const specData = process.env.BARECELL_TEST_DATA
  ? `${process.env.BARECELL_TEST_DATA}/spec`
  : fileURLToPath(new URL("../../shared/data/spec", import.meta.url));
const totals = { passed: 0, failed: 0, skipped: 0 };
const notes = [];

function add(counts) {
  for (const key of Object.keys(totals)) totals[key] += counts[key] ?? 0;
}

/** @returns a promise of when and how a child process ends; status 1 if it could not be started */
function ending(child) {
  const started = Date.now();
  return new Promise((resolve) => {
    const end = (status) => resolve({ status, seconds: ((Date.now() - started) / 1000).toFixed(1) });
    child.once("error", () => end(1));
    child.once("exit", end);
  });
}

async function run(title, command, env = {}) {
  process.stdout.write(`\n== ${title}\n`);
  const child = spawn(command[0], command.slice(1), { stdio: "inherit", env: { ...process.env, ...env } });
  const { status, seconds } = await ending(child);
  process.stdout.write(`   (${seconds} s)\n`);
  return status;
}

/**
 * Starts a command beside the following ones, which come first: it gets the processor's time that they leave while they wait.
 * @param nice its niceness
 * @returns a function that waits for its end, tells what it said, and returns its status
 */
function runBeside(title, command, nice = 10) {
  mkdirSync("build/reports", { recursive: true });
  const path = `build/reports/${fileName(title)}.log`;
  const log = openSync(path, "w");
  const ended = ending(spawn("nice", ["-n", String(nice), ...command], { stdio: ["ignore", log, log] }));
  return async () => {
    process.stdout.write(`\n== ${title} (it ran beside the others)\n`);
    const { status, seconds } = await ended;
    process.stdout.write(`${readFileSync(path, "utf8")}   (${seconds} s)\n`);
    return status;
  };
}

const fileName = (title) => title.replace(/\W+/g, "-");

/** A check that passes or fails as a whole. @param status its promise */
async function check(title, status) {
  const ok = (await status) === 0;
  add(ok ? { passed: 1 } : { failed: 1 });
  if (!ok) notes.push(`FAILED: ${title}`);
}

const runCheck = (title, command) => check(title, run(title, command));

/** A vitest run, counted test by test from its own report. */
async function vitest(title, args, env = {}, command = []) {
  const report = `build/reports/${fileName(title)}.json`;
  mkdirSync("build/reports", { recursive: true });
  rmSync(report, { force: true });
  const status = await run(
    title,
    [
      ...command,
      process.execPath,
      "node_modules/vitest/vitest.mjs",
      "run",
      ...args,
      "--reporter=default",
      "--reporter=json",
      `--outputFile=${report}`,
    ],
    env,
  );
  countReport(title, readReport(report), status);
}

/** @param report undefined if there is none */
function countReport(title, report, status) {
  if (report === undefined) {
    add({ failed: 1 });
    notes.push(`FAILED: ${title} gave no report (status ${status})`);
    return;
  }
  const { failed, ...others } = counts(report);
  // A file that could not even be loaded has no failed test to its name.
  add({ ...others, failed: status !== 0 ? Math.max(1, failed) : failed });
  if (status !== 0) notes.push(`FAILED: ${title}`);
  // By name at the end too, where it is not lost among everything that passed.
  for (const failure of failures(report)) notes.push(`FAILED: ${failure}`);
  for (const name of skippedNames(report)) notes.push(`skipped: ${name}`);
}

/**
 * The emulated machine has the time that the other tests leave, at worst a quarter of a processor, and then a test of time limits may miss its own, and vitest gives up
 * a worker that takes a minute to start. So the files in which something failed are repeated with the machine to themselves, and all of them if it was no test that
 * failed. That run counts; what failed in the first is said at the end.
 */
async function repeatAlone(title, report, status) {
  if (status === 0) return countReport(title, report, status);
  const files = report === undefined ? SVM_FILES : filesToRepeat(report, SVM_FILES);
  const failed = report === undefined ? [] : failures(report);
  for (const failure of failed) notes.push(`REPEATED ALONE, for beside other tests it failed: ${failure}`);
  if (failed.length === 0)
    notes.push(
      `REPEATED ALONE, for beside other tests it did not come to its end: ${title} (status ${status})`,
    );
  const again = await run(`${title}: ${files.join(" ")}, alone`, [
    process.execPath,
    "scripts/test-svm.mjs",
    ...files,
  ]);
  const second = readReport(SVM_REPORT);
  countReport(title, report && second ? withRepeated(report, second) : second, again);
}

/** A representative part of the official scripts; `npm run spec` runs all of them. What its scripts skip is counted, with the reason in its own lines. */
async function spec() {
  const title = "official test scripts of WebAssembly (a part; all of them: npm run spec)";
  if (!existsSync(specData)) {
    add({ skipped: 1 });
    notes.push(`skipped: ${title}: THE TEST DATA IS MISSING (${specData})`);
    return;
  }
  const report = "build/reports/spec.json";
  rmSync(report, { force: true });
  const built = await run("the runner of test scripts", [
    process.execPath,
    "node_modules/typescript/bin/tsc",
    "-p",
    "tests/spec/tsconfig.json",
  ]);
  const status =
    built === 0
      ? await run(title, [process.execPath, "build/spec/main.js", "--ci", "--json", report])
      : built;
  let counts = { failed: 1 };
  try {
    counts = JSON.parse(readFileSync(report, "utf8")).totals;
  } catch {
    notes.push(`FAILED: ${title} gave no report (status ${status})`);
  }
  add(counts);
  if (status !== 0 && counts.failed === 0) add({ failed: 1 });
  if (status !== 0) notes.push(`FAILED: ${title}`);
}

function kvmIsUsable() {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const only = process.argv[2];
const wanted = (name) => only === undefined || only === name;

if (!kvmIsUsable()) {
  const banner = "#".repeat(100);
  process.stdout.write(
    `\n${banner}\n/dev/kvm IS MISSING OR MAY NOT BE OPENED: every test that boots a VM will FAIL. Run 'node dist/cli/main.js doctor'.\n${banner}\n`,
  );
}
if (wanted("static")) {
  await runCheck("format and lint (biome)", [
    process.execPath,
    "node_modules/@biomejs/biome/bin/biome",
    "check",
    ".",
  ]);
  await runCheck("types (tsc)", [process.execPath, "node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]);
  await runCheck("generated pages are up to date", [process.execPath, "scripts/make-docs.mjs", "--check"]);
}
// The sanitizer build has no timing, so it runs beside the first tests.
const native = wanted("native")
  ? runBeside("native tests under AddressSanitizer and UBSan", [process.execPath, "scripts/test-native.mjs"])
  : undefined;
if (wanted("unit")) await vitest("tests that the emulated machine repeats", SVM_FILES);
// It finds the modules compiled, and has one processor; its time limits are ten times as long.
const svm = wanted("svm")
  ? // A quarter of a processor beside two busy ones, where a tenth would be too little for vitest to start in.
    runBeside(
      "VM tests on emulated AMD SVM with nested paging",
      [process.execPath, "scripts/test-svm.mjs"],
      5,
    )
  : undefined;
if (wanted("unit")) {
  const others = SVM_FILES.map((file) => `--exclude=${file}`);
  await vitest("tests", others);
}
if (wanted("spec")) await spec();
if (native !== undefined) {
  await check("native tests under AddressSanitizer and UBSan", native());
  await vitest(
    "VM tests on the sanitizer build of the addon",
    ["tests/vm", "tests/hostile/racing", "tests/streams", "tests/observe", "tests/pool"],
    sanitizerEnvironment(),
  );
}
if (svm !== undefined) {
  let status = await svm();
  // It could not be run. If that was for want of time, as when a kernel tests its timer, there is enough now.
  if (status === 3)
    status = await run("VM tests on emulated AMD SVM, once more", [process.execPath, "scripts/test-svm.mjs"]);
  if (status === 3) {
    add({ skipped: 1 });
    notes.push("skipped: AMD SVM tests (see the message above for what is missing)");
  } else {
    await repeatAlone("AMD SVM", readReport(SVM_REPORT), status);
  }
}

process.stdout.write(`\n${notes.join("\n")}${notes.length > 0 ? "\n" : ""}`);
process.stdout.write(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
process.exitCode = totals.failed > 0 || totals.passed === 0 ? 1 : 0;
