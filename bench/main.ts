/** `npm run bench -- [scenario…] [--json FILE] [--runs N] [--quick] [--compare OLD.json [NEW.json]]`; see bench/README.md. */
import { fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Task } from "./child.ts";
import { loadComparer } from "./compare.ts";
import { describeComparison } from "./compare-text.ts";
import { buildFloor } from "./floor.ts";
import { describeMachine } from "./machine.ts";
import { BadReport, readReport } from "./read-report.ts";
import { notes, type Report, type ScenarioReport, table } from "./report.ts";
import { SCENARIOS } from "./scenarios/index.ts";

const TOLERANCE_PERCENT = 10;

const USAGE = `usage: npm run bench -- [scenario…] [--json FILE] [--runs N] [--quick] [--compare OLD.json] [--tolerance PERCENT]
       npm run bench -- --compare OLD.json NEW.json [--tolerance PERCENT]
  --json FILE          writes all figures and raw samples
  --runs N             samples for each scenario
  --quick              a look that everything works, not a measurement
  --compare OLD.json   says what is worse than it was, beyond noise; exit status 1 if anything is. With NEW.json nothing is measured
  --tolerance PERCENT  what is no regression yet (${TOLERANCE_PERCENT})
scenarios:
${SCENARIOS.map((scenario) => `  ${scenario.name.padEnd(12)} ${scenario.title}`).join("\n")}
`;

class UsageError extends Error {}

interface Request {
  readonly names: readonly string[];
  readonly json: string | undefined;
  readonly runs: number | undefined;
  readonly quick: boolean;
  readonly compare: string | undefined;
  /** What to compare with `compare` instead of measuring. */
  readonly compared: string | undefined;
  /** 0.1 is 10 %. */
  readonly tolerance: number;
}

function parse(args: string[]): Request {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: "string" },
      runs: { type: "string" },
      quick: { type: "boolean", default: false },
      compare: { type: "string" },
      tolerance: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const { json, quick, compare } = values;
  const files = positionals.filter((word) => word.endsWith(".json"));
  const asked = positionals.filter((word) => !word.endsWith(".json"));
  const unknown = asked.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  if (unknown.length > 0) throw new UsageError(`no such scenario: ${unknown.join(", ")}`);
  const compared = files[0];
  if (files.length > 1 || (compared !== undefined && compare === undefined)) {
    throw new UsageError("files are compared by --compare OLD.json NEW.json");
  }
  if (compared !== undefined && (asked.length > 0 || json !== undefined || values.runs !== undefined)) {
    throw new UsageError(
      "where two files are compared, nothing is measured: leave out scenarios, --json, --runs",
    );
  }
  if (compare !== undefined && quick) throw new UsageError("a quick run is no measurement to compare");
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs >= 1)) {
    throw new UsageError(`--runs takes a whole number from 1, not '${values.runs}'`);
  }
  const percent = Number(values.tolerance ?? TOLERANCE_PERCENT);
  if (values.tolerance?.trim() === "" || !(percent >= 0 && percent <= 1000)) {
    throw new UsageError(`--tolerance takes percent from 0 to 1000, not '${values.tolerance}'`);
  }
  const names = asked.length > 0 ? asked : SCENARIOS.map((scenario) => scenario.name);
  return { names, json, runs, quick, compare, compared, tolerance: percent / 100 };
}

/** In a fresh process, so that no scenario meets what another left: heap, caches, mappings, threads. */
function runScenario(task: Task): Promise<ScenarioReport> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("./child.js", import.meta.url)), [JSON.stringify(task)], {
      serialization: "advanced",
      // node:wasi, which CoreMark runs on in V8, is called experimental.
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    let result: ScenarioReport | undefined;
    child.on("message", (message) => {
      result = message as ScenarioReport;
      child.disconnect();
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (result && code === 0) resolve(result);
      else reject(new Error(`the scenario '${task.name}' failed (${signal ?? `exit status ${code}`})`));
    });
  });
}

async function main(request: Request): Promise<void> {
  const { compare: baseline, compared, tolerance } = request;
  // Before an hour of measuring.
  const old =
    baseline === undefined ? undefined : { report: readReport(baseline), compare: await loadComparer() };
  const after = compared === undefined ? await measure(request) : readReport(compared);
  if (old === undefined) return;
  const comparison = old.compare(old.report, after, tolerance);
  process.stdout.write(
    `${compared === undefined ? "\n" : ""}${describeComparison(comparison, old.report, after, tolerance)}\n`,
  );
  if (comparison.regressions.length > 0) process.exitCode = 1;
}

async function measure(request: Request): Promise<Report> {
  const machine = describeMachine();
  const floor = buildFloor();
  const { runs, quick } = request;
  process.stdout.write(
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; KVM: ${machine.kvm}; Node ${machine.node}; load ${machine.load.toFixed(1)}; VMs of others: ${machine.liveVms}\n\n`,
  );
  const scenarios: Record<string, ScenarioReport> = {};
  for (const name of request.names) scenarios[name] = await runScenario({ name, quick, runs, floor });
  const report: Report = { machine, quick, scenarios };
  process.stdout.write(`${table(report)}\n\n${notes(report)}\n`);
  if (quick) process.stdout.write("a quick run: these figures are no measurement\n");
  if (request.json !== undefined) writeFileSync(request.json, `${JSON.stringify(report)}\n`);
  return report;
}

try {
  await main(parse(process.argv.slice(2)));
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  // 1 is a regression where something was compared.
  const isBadInput = isUsage || error instanceof BadReport;
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  if (isUsage) process.stderr.write(USAGE);
  process.exitCode = isBadInput ? 2 : 1;
}
