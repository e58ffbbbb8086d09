/** `npm run bench -- [scenario…] [--json FILE] [--runs N] [--quick]`; see bench/README.md. */
import { fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Task } from "./child.ts";
import { buildFloor } from "./floor.ts";
import { describeMachine } from "./machine.ts";
import { notes, type Report, type ScenarioReport, table } from "./report.ts";
import { SCENARIOS } from "./scenarios/index.ts";

const USAGE = `usage: npm run bench -- [scenario…] [--json FILE] [--runs N] [--quick]
  --json FILE  writes all figures and raw samples
  --runs N     samples for each scenario
  --quick      a look that everything works, not a measurement
scenarios:
${SCENARIOS.map((scenario) => `  ${scenario.name.padEnd(12)} ${scenario.title}`).join("\n")}
`;

class UsageError extends Error {}

interface Request {
  readonly names: readonly string[];
  readonly json: string | undefined;
  readonly runs: number | undefined;
  readonly quick: boolean;
}

function parse(args: string[]): Request {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      json: { type: "string" },
      runs: { type: "string" },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const unknown = positionals.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  if (unknown.length > 0) throw new UsageError(`no such scenario: ${unknown.join(", ")}`);
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  if (runs !== undefined && !(Number.isInteger(runs) && runs >= 1)) {
    throw new UsageError(`--runs takes a whole number from 1, not '${values.runs}'`);
  }
  const names = positionals.length > 0 ? positionals : SCENARIOS.map((scenario) => scenario.name);
  return { names, json: values.json, runs, quick: values.quick };
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
  const machine = describeMachine();
  const floor = buildFloor();
  const { runs, quick } = request;
  process.stdout.write(
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; Linux ${machine.kernel}; KVM: ${machine.kvm}; Node ${machine.node}; load ${machine.load.toFixed(1)}; VMs of others: ${machine.liveVms}\n\n`,
  );
  const scenarios: Record<string, ScenarioReport> = {};
  for (const name of request.names) scenarios[name] = await runScenario({ name, quick, runs, floor });
  const report: Report = { machine, scenarios };
  process.stdout.write(`${table(report)}\n\n${notes(report)}\n`);
  if (quick) process.stdout.write("a quick run: these figures are no measurement\n");
  if (request.json !== undefined) writeFileSync(request.json, `${JSON.stringify(report)}\n`);
}

try {
  await main(parse(process.argv.slice(2)));
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error);
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  if (isUsage) process.stderr.write(USAGE);
  process.exitCode = isUsage ? 2 : 1;
}
