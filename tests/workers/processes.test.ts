/** The end of a process that has worker processes, in many ways: it is not held up, and no worker outlives it. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { BARECELL_URL } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { HOST_MODULE, isAlive, one, until } from "./guest.ts";

const folder = mkdtempSync(join(tmpdir(), "barecell-workers-"));
const imagePath = join(folder, "one.cell");
await one.save(imagePath);
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  readonly workers: readonly number[];
}

/** @param onLine of its standard output; may end it */
function run(scenario: string, onLine: (line: string, kill: () => void) => void = () => {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL("process.mjs", import.meta.url));
    const child = spawn(process.execPath, [script, scenario, BARECELL_URL, imagePath, HOST_MODULE.href], {
      // A process group of its own, for signals that go to all of one.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      for (const line of text.split("\n")) onLine(line, () => child.kill("SIGKILL"));
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const late = setTimeout(() => child.kill("SIGKILL"), 20_000 * slowness);
    child.on("error", reject);
    // Not "close": workers have its streams too.
    child.on("exit", (code, signal) => {
      clearTimeout(late);
      const workers = /^workers ([\d ]+)$/m.exec(stdout)?.[1]?.split(" ").map(Number) ?? [];
      setImmediate(() => resolve({ code, signal, stderr, workers }));
    });
  });
}

const goneAll = (pids: readonly number[]): Promise<void> =>
  until(`the end of the workers ${pids}`, () => !pids.some(isAlive));

describe("a process with worker processes", () => {
  it.each([
    ["the end without close", 0],
    ["the end at once", 0],
    ["a call that nobody awaits is finished", 5],
    ["a queued call without a deadline is finished", 5],
    ["close, then the end", 0],
    ["exit during calls", 7],
    ["SIGINT to all processes, and a gentle end", 9],
  ])("%s: exit status %i, silently", async (scenario, expected) => {
    const { code, signal, stderr, workers } = await run(scenario);
    expect({ code, signal, stderr }).toEqual({ code: expected, signal: null, stderr: "" });
    expect(workers.length).toBeGreaterThan(0);
    await goneAll(workers);
  });

  it("an uncaught error: Node's own exit status and message", async () => {
    const { code, stderr, workers } = await run("uncaught error during calls");
    expect(code).toBe(1);
    expect(stderr).toContain("on purpose");
    await goneAll(workers);
  });

  it("kill -9, while one worker runs a guest and another holds up its thread", async () => {
    const { signal, workers } = await run("to be killed", (line, kill) => {
      if (line === "kill me") kill();
    });
    expect(signal).toBe("SIGKILL");
    expect(workers.length).toBe(2);
    await goneAll(workers);
  });

  it("a thread of it that has the pool, terminated: the workers end, the process lives", async () => {
    let aliveAfter: readonly number[] | undefined;
    let workers: readonly number[] = [];
    await run("a thread with a pool, terminated", (line, kill) => {
      const found = /^workers ([\d ]+)$/.exec(line)?.[1];
      if (found !== undefined) workers = found.split(" ").map(Number);
      if (line !== "terminated") return;
      void goneAll(workers).finally(() => {
        aliveAfter = workers.filter(isAlive);
        kill();
      });
    });
    expect(workers.length).toBe(2);
    expect(aliveAfter).toEqual([]);
  });
});
