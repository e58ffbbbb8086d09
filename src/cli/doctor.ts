/** `barecell doctor`. */
import { type CheckStatus, type Diagnosis, diagnose } from "./doctor-checks.ts";
import { realHost } from "./doctor-host.ts";
import { EXIT, printJson } from "./report.ts";
import type { Invocation } from "./table.ts";
import { printable, stdout } from "./terminal.ts";

const STYLES = { ok: "green", warn: "yellow", fail: "red", skip: "dim" } as const satisfies Record<
  CheckStatus,
  string
>;

/** Runs the command. @returns the exit status */
export async function doctor({ options }: Invocation<"doctor">): Promise<number> {
  const diagnosis = await diagnose(realHost);
  if (options.json) printJson(diagnosis);
  else printDiagnosis(diagnosis);
  return diagnosis.ok ? EXIT.ok : EXIT.error;
}

function printDiagnosis({ ok, checks }: Diagnosis): void {
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, status, detail, cure } of checks) {
    stdout.line(
      `${stdout.style(STYLES[status], status.padEnd(4))}  ${name.padEnd(width)}  ${printable(detail)}`,
    );
    if (cure !== undefined)
      stdout.line(`      ${"".padEnd(width)}  ${stdout.style("bold", "cure:")} ${printable(cure)}`);
  }
  const warned = checks.some(({ status }) => status === "warn");
  stdout.line();
  if (!ok) stdout.line("barecell cannot run here: cure what failed.");
  else stdout.line(warned ? "barecell runs here; see the warnings." : "barecell runs here.");
}
