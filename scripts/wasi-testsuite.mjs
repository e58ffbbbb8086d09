// `npm run wasi-testsuite -- DIR`: runs the WASI programs of a folder and its subfolders, each in a VM of its own, against what is stated of them.
// NAME.wasm may have a NAME.json beside it (the layout of WebAssembly/wasi-testsuite): `args`, `env`, `root` (a folder that is copied and becomes
// `/`), `exit_code`, `stdout`, `stderr`; without one it must exit with 0. A folder with an `expected.json` states cases instead (see casesOf).
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative } from "node:path";
import { pathToFileURL } from "node:url";

const TIMEOUT_MS = 30_000;
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

/** Programs whose statement contradicts the specification, and how; they count as skipped. By the end of their path. */
const EXCEPTIONS = {
  "wazero/wasi_fd.wasm":
    "opens a file with no right at all (fs_rights_base 0) and then reads it, which the specification answers with ENOTCAPABLE",
};

/** All tests of a folder: { name, wasm, skip } or { name, wasm, ...expectation }. */
export function findTests(folder, base = folder) {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  const deeper = entries
    .filter((entry) => entry.isDirectory() && !entry.name.endsWith(".dir"))
    .flatMap((entry) => findTests(join(folder, entry.name), base));
  const programs = entries.filter((entry) => entry.name.endsWith(".wasm")).map((entry) => entry.name);
  const cases = join(folder, "expected.json");
  const here = existsSync(cases)
    ? casesOf(readJson(cases).cases, programs, folder)
    : programs.map((program) => plainTest(program, folder));
  const named = here.map((test) => {
    const exception = Object.entries(EXCEPTIONS).find(([end]) => test.wasm.endsWith(`/${end}`));
    return {
      ...test,
      name: join(relative(base, folder), test.name),
      ...(exception && { skip: exception[1] }),
    };
  });
  return [...named, ...deeper];
}

function plainTest(program, folder) {
  const json = join(folder, program.replace(/\.wasm$/, ".json"));
  const stated = existsSync(json) ? readJson(json) : {};
  const { args = [], env = {}, root, dirs = [], exit_code: exitCode = 0, stdout, stderr } = stated;
  return {
    name: program,
    wasm: join(folder, program),
    args: [program, ...args],
    env,
    exitCode,
    ...(root === undefined ? {} : { copies: { "/": join(folder, root) } }),
    ...(dirs.length === 0 ? {} : { copies: Object.fromEntries(dirs.map((dir) => [dir, join(folder, dir)])) }),
    ...(stdout === undefined ? {} : { checkStdout: (text) => equal("stdout", text, stdout) }),
    ...(stderr === undefined ? {} : { checkStderr: (text) => equal("stderr", text, stderr) }),
  };
}

function equal(what, got, wanted) {
  return got === wanted ? undefined : `${what} is ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`;
}

/** The cases of an expected.json: programs, `argv`, `env`, `fixture` (in words), `preopens`, `stdin`, and what must come of it. */
function casesOf(cases, programs, folder) {
  const named = new Set(cases.flatMap(({ wasm }) => wasm));
  const unnamed = programs.filter((program) => !named.has(program));
  return [
    ...cases.flatMap((entry) =>
      entry.wasm.map((program) => ({
        name: [
          program,
          ...(entry.argv ?? []).slice(1),
          ...(entry.fixture ? [`(${entry.fixture})`] : []),
        ].join(" "),
        wasm: join(folder, program),
        args: entry.argv ?? [program],
        env: entry.env ?? {},
        exitCode: entry.exit_code ?? 0,
        silentStdin: entry.stdin === "not ready",
        minMs: entry.min_ms ?? 0,
        mustTimeOut: /must be stopped/.test(entry.note ?? ""),
        fixtures: fixturesOf(entry),
        checkStdout: (text) => checkLines(entry, program, text),
      })),
    ),
    ...unnamed.map((program) => ({
      name: program,
      wasm: join(folder, program),
      skip: "expected.json states nothing of it",
    })),
  ];
}

/** Directories of the guest: what makes each of them. */
function fixturesOf({ fixture = "", preopens = ["/"], argv = [] }) {
  const many = /^(\d+) empty files/.exec(fixture);
  const file = /^file (\S+) containing '(.*)' at/.exec(fixture);
  const make = (at) => {
    if (many) {
      for (let i = 0; i < Number(many[1]); i++) writeFileSync(join(at, String(i)), "");
    } else if (file) {
      writeFileSync(join(at, file[1]), JSON.parse(`"${file[2]}"`));
    } else if (argv[1] === "ls") {
      writeFileSync(join(at, "-"), "");
      writeFileSync(join(at, "ab-"), "");
      mkdirSync(join(at, "a-"));
    }
  };
  return Object.fromEntries(preopens.map((guest) => [guest, make]));
}

function checkLines(entry, program, text) {
  if (entry.stdout !== undefined) return equal("stdout", text, entry.stdout);
  const lines = text.split("\n").filter((line) => line !== "");
  const dots = (entry.dots_for ?? []).includes(program);
  const plain = lines.filter((line) => !dots || (line !== "./." && line !== "./.."));
  if (entry.stdout_lines_sorted !== undefined) {
    return equal("stdout", plain.sort().join(), [...entry.stdout_lines_sorted].sort().join());
  }
  if (entry.stdout_line_count !== undefined) {
    const count = lines.filter((line) => !line.endsWith("/.") && !line.endsWith("/..")).length;
    return equal("number of lines", count, entry.stdout_line_count);
  }
  return undefined;
}

/** @returns undefined if it passed, else why it did not */
export async function runTest(test, { compile, MicroVM }, compileOptions = {}) {
  const scratch = mkdtempSync(join(tmpdir(), "barecell-wasi-testsuite-"));
  const open = [];
  try {
    const preopens = {};
    for (const [guest, source] of Object.entries(test.copies ?? {})) {
      const at = join(scratch, `copy${Object.keys(preopens).length}`);
      // What is copied may be read-only, which a test's own folder is not.
      cpSync(source, at, { recursive: true });
      execFileSync("chmod", ["-R", "u+rwX", at]);
      preopens[guest] = { host: at, writable: true };
    }
    for (const [guest, make] of Object.entries(test.fixtures ?? {})) {
      const at = join(scratch, `fixture${Object.keys(preopens).length}`);
      mkdirSync(at);
      make(at);
      preopens[guest] = at;
    }
    let stdin = "ignore";
    if (test.silentStdin) {
      execFileSync("mkfifo", [join(scratch, "fifo")]);
      open.push(openSync(join(scratch, "fifo"), constants.O_RDWR));
      stdin = { fd: open[0] };
    }
    const image = await compile(readFileSync(test.wasm), { name: basename(test.wasm), ...compileOptions });
    const vm = await MicroVM.boot(image, {
      wasi: { args: test.args, env: test.env, stdin, stdout: "capture", stderr: "capture", preopens },
      timeoutMs: test.mustTimeOut ? 300 : TIMEOUT_MS,
    });
    try {
      return await judge(vm, test);
    } finally {
      vm.dispose();
    }
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message}`;
  } finally {
    for (const fd of open) closeSync(fd);
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function judge(vm, test) {
  const started = performance.now();
  const ended = await vm.start().catch((error) => error);
  const took = performance.now() - started;
  const [stdout, stderr] = [vm.stdout(), vm.stderr()].map((bytes) => Buffer.from(bytes).toString());
  if (test.mustTimeOut) return equal("end", ended.code, "BARECELL_TIMEOUT");
  if (typeof ended !== "number") return `${ended.code ?? ended.name}: ${ended.message}\n${stdout}${stderr}`;
  if (ended !== test.exitCode) return `exit status is ${ended}, not ${test.exitCode}\n${stdout}${stderr}`;
  if (took < (test.minMs ?? 0)) return `it took ${took} ms, and not ${test.minMs}`;
  return test.checkStdout?.(stdout) ?? test.checkStderr?.(stderr);
}

async function main() {
  const folder = process.argv[2];
  if (folder === undefined || !existsSync(folder)) {
    process.stderr.write("usage: npm run wasi-testsuite -- DIR\n");
    return 2;
  }
  const api = await import(new URL("../dist/index.js", import.meta.url).href);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const test of findTests(folder)) {
    const problem = test.skip ?? (await runTest(test, api));
    const state = test.skip ? "skipped" : problem === undefined ? "passed" : "failed";
    counts[state]++;
    process.stdout.write(`${state} ${test.name}${problem === undefined ? "" : `: ${problem}`}\n`);
  }
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  // Nothing found is no success.
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = await main();
}
