/** `npm run spec`: the official test scripts of WebAssembly, every command of them in real VMs. See README.md beside this file. */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CI_FILES } from "./ci-files.ts";
import { collectFiles, SPEC_DATA, type SpecFile, UsageError } from "./files.ts";
import { count, fileLines, makeReport, totalLine } from "./report.ts";
import { runFiles, type WorkersOptions } from "./workers.ts";

const USAGE = `usage: npm run spec -- [file or folder…] [options]
Runs .wast scripts (and .wasm modules, which only have to do no harm). Without a file: all of ../shared/data/spec.
  --ci                   the representative choice of files, in less than 4 minutes on 2 processors
  --filter TEXT          only files whose name contains it
  --json FILE            writes every assertion with file, line, kind, outcome and reason
  --jobs N               files at a time; default: one for each processor
  --deadline SECONDS     for one file; default 600
  --target-cpu LEVEL     host (default), x86-64-v2 or x86-64-v3: for what the modules are compiled
  --modules-per-image N  most modules that are compiled into one image; default 32
  --strict               a module that is refused by name because it needs a later WebAssembly than 2.0 is a failure, not a skip
Exit status: 0 if nothing failed, 1 if something did, 2 for wrong usage.
`;

interface Request {
  readonly files: readonly SpecFile[];
  readonly json: string | undefined;
  readonly jobs: number;
  readonly deadlineMs: number;
  readonly modulesPerImage: number;
  readonly strict: boolean;
  readonly targetCpu: WorkersOptions["targetCpu"];
}

function parse(args: string[]): Request {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ci: { type: "boolean", default: false },
      filter: { type: "string" },
      json: { type: "string" },
      jobs: { type: "string" },
      deadline: { type: "string" },
      "modules-per-image": { type: "string" },
      strict: { type: "boolean", default: false },
      "target-cpu": { type: "string", default: "host" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  if (values.ci && positionals.length > 0) throw new UsageError("--ci chooses the files itself");
  const filter = values.filter ?? "";
  const places = values.ci ? CI_FILES.map((file) => `${SPEC_DATA}/${file}`) : positionals;
  const files = collectFiles(places.length > 0 ? places : [SPEC_DATA]).filter(({ name }) =>
    name.includes(filter),
  );
  if (files.length === 0) throw new UsageError(`no file's name contains '${filter}'`);
  return {
    files,
    json: values.json,
    jobs: wholeNumber("--jobs", values.jobs, availableParallelism()),
    deadlineMs: 1000 * wholeNumber("--deadline", values.deadline, 600),
    modulesPerImage: wholeNumber("--modules-per-image", values["modules-per-image"], 32),
    strict: values.strict,
    targetCpu: targetCpu(values["target-cpu"]),
  };
}

function targetCpu(text: string): WorkersOptions["targetCpu"] {
  if (text === "host" || text === "x86-64-v2" || text === "x86-64-v3") return text;
  throw new UsageError(`--target-cpu takes host, x86-64-v2 or x86-64-v3, not '${text}'`);
}

function wholeNumber(name: string, text: string | undefined, preset: number): number {
  if (text === undefined) return preset;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= 1_000_000) return value;
  throw new UsageError(`${name} takes a whole number from 1, not '${text}'`);
}

/** One line that is written over; nothing where no terminal is. */
function progressLine(): { show: (text: string) => void; clear: () => void } {
  if (!process.stderr.isTTY) return { show: () => {}, clear: () => {} };
  let shown = 0;
  const clear = (): void => {
    process.stderr.write("\r\x1b[K");
  };
  return {
    clear,
    show(text) {
      const now = performance.now();
      if (now - shown < 100) return;
      shown = now;
      process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    },
  };
}

async function main(request: Request): Promise<void> {
  const progress = progressLine();
  let finished = 0;
  const options: WorkersOptions = {
    ...request,
    worker: fileURLToPath(new URL("./worker.js", import.meta.url)),
    onResult(result) {
      finished++;
      progress.clear();
      process.stdout.write(`${fileLines(result).join("\n")}\n`);
    },
    onProgress(file, line, what) {
      progress.show(`${finished} of ${request.files.length} files; ${file}:${line} ${what}`);
    },
  };
  const results = await runFiles(request.files, options);
  progress.clear();
  const report = makeReport(results);
  if (request.json !== undefined) writeFileSync(request.json, `${JSON.stringify(report, undefined, 1)}\n`);
  process.stdout.write(`${totalLine(report.totals)}\n`);
  // A file in which nothing was found to run would otherwise count as good.
  const empty = results.filter(({ entries }) => totalOf(count(entries)) === 0).map(({ file }) => file);
  for (const file of empty) process.stderr.write(`nothing is in ${file}\n`);
  process.exitCode = report.totals.failed > 0 ? 1 : 0;
}

const totalOf = (counts: Record<string, number>): number => Object.values(counts).reduce((a, b) => a + b, 0);

let request: Request | undefined;
try {
  request = parse(process.argv.slice(2));
} catch (error) {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (!(error instanceof UsageError) && !code.startsWith("ERR_PARSE_ARGS")) throw error;
  process.stderr.write(`spec: ${(error as Error).message}\n${USAGE}`);
  process.exitCode = 2;
}
if (request) await main(request);
