/** Runs a tool of the compiler (wasm2c, the C compiler) as a child process with hard limits. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { BarecellError } from "../errors.ts";
import { throwIfCancelled } from "./cancel.ts";

export interface ToolLimits {
  readonly timeoutMs: number;
  /** Address space of each process, bytes; undefined for tools that reserve more than they use (V8). */
  readonly memoryBytes: number | undefined;
  /** Largest file it may write, bytes. */
  readonly fileBytes: number;
  /** Of its first thread, bytes; undefined for what a process gets. At most `mostStackBytes()`. */
  readonly stackBytes?: number | undefined;
  /** Kills the tool and all that it started. */
  readonly signal?: AbortSignal | undefined;
}

export interface ToolRun {
  readonly stdout: string;
  readonly stderr: string;
}

/** How much of a tool's output is kept for messages. */
const KEPT_OUTPUT_BYTES = 64 * 1024;

/**
 * @throws BARECELL_COMPILER_MISSING if the program does not exist, BARECELL_COMPILE_LIMIT if it hit a limit,
 *   BARECELL_COMPILE_FAILED if it failed or was killed from outside, BARECELL_CANCELLED
 */
export async function runTool(
  what: string,
  command: readonly [string, ...string[]],
  cwd: string,
  limits: ToolLimits,
): Promise<ToolRun> {
  const { signal } = limits;
  throwIfCancelled(signal);
  // `ulimit` because Node cannot set limits on a child; the shell gives way to the tool at once. Blocks are of 512 bytes (POSIX).
  const memory =
    limits.memoryBytes === undefined ? "" : `ulimit -v ${Math.ceil(limits.memoryBytes / 1024)}; `;
  const stack = limits.stackBytes === undefined ? "" : `ulimit -s ${Math.ceil(limits.stackBytes / 1024)}; `;
  const shell = `ulimit -c 0; ulimit -f ${Math.ceil(limits.fileBytes / 512)}; ${memory}${stack}exec "$@"`;
  const child = spawn("/bin/sh", ["-c", shell, "sh", ...command], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
    // A process group of its own, so that a kill reaches the compiler's own children (cc1, as, ld).
    detached: true,
    // What is preloaded into Node (a sanitizer, a profiler) is not meant for a compiler with a limited address space.
    env: { ...process.env, LC_ALL: "C", TMPDIR: cwd, LD_PRELOAD: undefined },
  });
  const killGroup = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // The group is gone already.
    }
  };
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup();
  }, limits.timeoutMs);
  process.once("exit", killGroup);
  signal?.addEventListener("abort", killGroup, { once: true });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  try {
    const { status, killedBy } = await new Promise<{ status: number | null; killedBy: string | null }>(
      (resolve, reject) => {
        child.on("error", reject);
        child.on("close", (code, by) => resolve({ status: code, killedBy: by }));
      },
    );
    const run = { stdout: stdout(), stderr: stderr() };
    throwIfCancelled(signal);
    if (status === 0) return run;
    throw toolError(what, command[0], status, killedBy, timedOut, run, limits);
  } catch (error) {
    if (error instanceof BarecellError) throw error;
    throw new BarecellError("BARECELL_COMPILE_FAILED", `${what} could not be started: ${String(error)}`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    process.removeListener("exit", killGroup);
    signal?.removeEventListener("abort", killGroup);
    killGroup();
  }
}

/** The largest stack that this process may give to another, bytes: the hard limit (proc(5), /proc/pid/limits). 0 if it is not known. */
export function mostStackBytes(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const [, hard = "0"] = /^Max stack size +\S+ +(\S+)/m.exec(limits) ?? [];
    return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard);
  } catch {
    return 0;
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let kept = 0;
  stream.on("data", (chunk: Buffer) => {
    if (kept < KEPT_OUTPUT_BYTES) chunks.push(chunk.subarray(0, KEPT_OUTPUT_BYTES - kept));
    kept += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

function toolError(
  what: string,
  program: string,
  status: number | null,
  signal: string | null,
  timedOut: boolean,
  run: ToolRun,
  limits: ToolLimits,
): BarecellError {
  const output = (run.stderr.trim() || run.stdout.trim()).slice(0, 4000);
  const cause = new Error(output === "" ? "no output" : output);
  if (timedOut) {
    return new BarecellError(
      "BARECELL_COMPILE_LIMIT",
      `${what} took longer than ${limits.timeoutMs} ms; raise compileTimeoutMs for a module of this size`,
      { cause },
    );
  }
  // The shell says 126 or 127 where it cannot start a program (POSIX, 2.8.2).
  if (status === 126 || status === 127) {
    return new BarecellError(
      "BARECELL_COMPILER_MISSING",
      `${what} was not found: there is no program '${program}'; on Debian: apt-get install gcc`,
      { cause },
    );
  }
  if (signal === "SIGXFSZ" || /File size limit exceeded/.test(output)) {
    return new BarecellError(
      "BARECELL_COMPILE_LIMIT",
      `${what} wrote more than ${limits.fileBytes} bytes; raise compileOutputBytes`,
      { cause },
    );
  }
  if (/No space left on device/.test(output)) {
    return new BarecellError(
      "BARECELL_FILE_UNWRITABLE",
      `${what} found no space left on the device for temporary files; set TMPDIR to a place with room`,
      { cause },
    );
  }
  if (/out of memory|cannot allocate memory|virtual memory exhausted/i.test(output)) {
    return new BarecellError(
      "BARECELL_COMPILE_LIMIT",
      `${what} needed more than its memory limit of ${limits.memoryBytes} bytes; raise compileMemoryBytes`,
      { cause },
    );
  }
  const how = signal === null ? `failed with status ${status}` : `was killed by ${signal}`;
  return new BarecellError("BARECELL_COMPILE_FAILED", `${what} ${how}: ${firstLine(output)}`, { cause });
}

function firstLine(text: string): string {
  const line = text.split("\n").find((candidate) => /error/i.test(candidate)) ?? text.split("\n")[0] ?? "";
  return line === "" ? "no output" : line.slice(0, 500);
}
