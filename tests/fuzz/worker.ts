/** A process that runs batches, so that one that a guest or the addon takes down does not end the run. */
import { BinaryenGenerator } from "./generator/binaryen.ts";
import { deriveSeed } from "./generator/choices.ts";
import { type Finding, type MadeUnit, makeUnit, runBatch } from "./harness/batch.ts";
import { saveCase } from "./harness/case-file.ts";
import { textOfCall } from "./harness/compare.ts";
import type { JudgeOptions } from "./harness/judge.ts";
import type { Answer, Assignment } from "./messages.ts";
import type { FuzzOptions } from "./options.ts";
import { type ReduceResult, reduceFinding } from "./reduce/index.ts";

let binaryen: BinaryenGenerator | undefined;
const getBinaryen = (): BinaryenGenerator => {
  binaryen ??= new BinaryenGenerator();
  return binaryen;
};
process.on("exit", () => binaryen?.dispose());

const say = (answer: Answer): void => {
  process.send?.(answer);
};

/** Users run -O2 for their own processor; the other levels have a batch now and then. */
function settingsOf(first: number, { optimize, targetCpu }: FuzzOptions): JudgeOptions {
  const levels = [2, 2, 2, 2, 2, 2, 2, 1, 3, 0] as const;
  const processors = ["host", "host", "x86-64-v2"] as const;
  return {
    optimize: optimize ?? levels[deriveSeed(first, "optimize") % levels.length] ?? 2,
    targetCpu: targetCpu ?? processors[deriveSeed(first, "processor") % processors.length] ?? "host",
  };
}

async function work({ first, count, options }: Assignment): Promise<Answer> {
  const made: MadeUnit[] = [];
  for (let seed = first; seed < first + count; seed++) {
    made.push(await makeUnit(seed, options.generator, getBinaryen));
  }
  const settings = settingsOf(first, options);
  const { summary, findings } = await runBatch(made, settings);
  const [finding] = findings;
  if (!finding) return { kind: "done", summary };
  return { kind: "found", summary, report: await describe(finding, made, settings, options) };
}

async function describe(
  finding: Finding,
  batch: readonly MadeUnit[],
  settings: JudgeOptions,
  options: FuzzOptions,
): Promise<string> {
  const { seed, unit } = finding.made;
  say({ kind: "progress", text: `${unit.origin} differs; making the case smaller` });
  const result = await reduceFinding(finding, settings, options.reduceSeconds * 1000, (text) =>
    say({ kind: "progress", text }),
  );
  const name = `seed-${seed}`;
  await saveCase(options.out, `${name}-whole`, { unit, settings }, finding.verdict.difference);
  const { optimize } = result.options;
  const small = { unit: result.unit, settings: { ...settings, optimize } };
  const path = await saveCase(options.out, name, small, result.difference);
  const again = result.isAlone
    ? { first: seed, count: 1 }
    : { first: batch[0]?.seed ?? seed, count: batch.length };
  return textOfResult(
    result,
    unit.origin,
    path,
    settings,
    `--seed ${again.first} --count ${again.count} --batch ${again.count} --generator ${options.generator}`,
  );
}

function textOfResult(
  { unit, difference, isAlone }: ReduceResult,
  origin: string,
  path: string,
  { optimize, targetCpu = "host" }: JudgeOptions,
  again: string,
): string {
  const call = difference.call === undefined ? undefined : unit.calls[difference.call];
  return [
    `DIFFERENCE: ${difference.what}`,
    `  from      ${origin}, -O${optimize}, ${targetCpu}${isAlone ? "" : "; it shows only together with the other units of its batch"}`,
    ...(call ? [`  call      ${textOfCall(call)}`] : []),
    `  V8        ${difference.expected}`,
    `  barecell  ${difference.actual}`,
    `  case      ${path}`,
    `  again     npm run fuzz:diff -- ${again} --opt ${optimize} --target ${targetCpu}`,
  ].join("\n");
}

process.on("message", (assignment: Assignment) => {
  work(assignment).then(say, (error: unknown) => {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say({ kind: "broken", message });
  });
});
