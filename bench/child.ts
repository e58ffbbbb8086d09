/** Runs one scenario in a process of its own, started by main.ts, and sends the result. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reportOf } from "./report.ts";
import { SCENARIOS } from "./scenarios/index.ts";

export interface Task {
  readonly name: string;
  readonly quick: boolean;
  readonly runs: number | undefined;
  readonly floor: string;
}

const task = JSON.parse(process.argv[2] ?? "{}") as Task;
const scenario = SCENARIOS.find((candidate) => candidate.name === task.name);
if (!scenario) throw new Error(`no such scenario: ${task.name}`);

const scratch = mkdtempSync(join(tmpdir(), "barecell-bench-"));
const showsProgress = process.stderr.isTTY;
try {
  const measured = await scenario.measure({
    quick: task.quick,
    runs: task.runs,
    floor: task.floor,
    scratch,
    progress: (text) => {
      if (showsProgress) process.stderr.write(`\r\x1b[K${task.name}: ${text}`);
    },
  });
  if (showsProgress) process.stderr.write("\r\x1b[K");
  process.send?.(reportOf(measured));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
