/** What only a process of its own can show: memory, the end of the event loop, the process's own streams, worker threads. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, it } from "vitest";
import { BARECELL_URL } from "../support/barecell.ts";
import { announceSkip, isSanitized, isSvm, slowness, soon } from "../support/environment.ts";
import { image, ONE_MIB } from "./programs.ts";

const folder = mkdtempSync(join(tmpdir(), "barecell-streams-"));
const imagePath = join(folder, "streams.cell");
await image.save(imagePath);
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Its standard input is never closed by us while it runs. */
function runProcess(scenario: string, meet: (child: ChildProcess) => void = () => {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL("process.mjs", import.meta.url));
    const floodMib = String(isSvm ? 64 : 1024);
    const child = spawn(
      process.execPath,
      ["--expose-gc", script, scenario, BARECELL_URL, imagePath, floodMib],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        output[name] += text;
      });
    const late = setTimeout(() => child.kill("SIGKILL"), 50_000 * slowness);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(late);
      child.stdin.destroy();
      resolve({ code, ...output });
    });
    meet(child);
  });
}

if (isSanitized) {
  announceSkip(
    "memory of a guest that prints a gigabyte",
    "AddressSanitizer keeps what is freed, so memory grows whatever the addon does",
  );
}

describe("memory", () => {
  it.skipIf(isSanitized)(
    "of a guest that prints a gigabyte to a slow stream stays where it was",
    async () => {
      const { code, stdout, stderr } = await runProcess("a flood through a slow stream");
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const { bytes, grownMib } = JSON.parse(stdout) as { bytes: number; grownMib: number };
      expect(bytes).toBe((isSvm ? 64 : 1024) * ONE_MIB);
      expect(grownMib).toBeLessThan(150);
    },
  );
});

describe("the end of the process", () => {
  it.each([
    ["standard input that nobody ends, inherited as a stream", "5\n"],
    ["standard input that nobody ends, disposed while the guest waits", "BARECELL_DISPOSED\n"],
    ["an idle VM with streams of all kinds", ""],
    ["input that is not read to its end", "5\n"],
    ["a generator that waits for ever", "5\n"],
  ])("%s does not hold it up", async (scenario, stdout) => {
    const meet = (child: ChildProcess): void => void child.stdin?.write("12345");
    expect(await runProcess(scenario, meet)).toEqual({ code: 0, stdout, stderr: "" });
  });

  it("process.exit() during a flood", async () => {
    expect(await runProcess("exit during a flood")).toEqual({ code: 7, stdout: "", stderr: "" });
  });
});

describe("the process's own streams", () => {
  it("are not closed, keep their order, and give no warning", async () => {
    const stdout = `before\n${"012".repeat(20)}${"0".repeat(20)}\nafter\n`;
    expect(await runProcess("process.stdout, shared")).toEqual({ code: 0, stdout, stderr: "" });
  });

  it("without a reader are a failure with a code, and no signal", async () => {
    const { code, stderr } = await runProcess("process.stdout without a reader", (child) => {
      child.stderr?.once("data", () => child.stdout?.destroy());
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "ready\nBARECELL_STREAM_FAILED EPIPE\n" });
  });
});

describe("nothing is left behind", () => {
  it("no rejection that nobody handles, whenever a stream fails", async () => {
    const { code, stdout, stderr } = await runProcess("failures that nobody waits for");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { problems, codes } = JSON.parse(stdout) as { problems: string[]; codes: string[] };
    expect(problems).toEqual([]);
    expect(codes).toContain("BARECELL_STREAM_FAILED");
    expect(codes).toContain("BARECELL_DISPOSED");
    expect(codes.filter((code) => !/^BARECELL_(STREAM_FAILED|DISPOSED)$/.test(code))).toEqual([]);
  });

  it("no descriptor of VMs that are collected without dispose(), though their streams live on", async () => {
    const { code, stdout, stderr } = await runProcess("VMs that are forgotten");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect((JSON.parse(stdout) as { more: number }).more).toBeLessThan(10);
  });
});

describe("worker threads", () => {
  it("have streams too", async () => {
    const worker = new Worker(new URL("worker.mjs", import.meta.url), {
      workerData: { url: BARECELL_URL, imagePath },
    });
    const message = new Promise((resolve, reject) => {
      worker.on("message", resolve);
      worker.on("error", reject);
    });
    expect(await soon("the worker's copy", message)).toBe("a worker's input");
    await soon("its end", worker.terminate());
  });

  it("that are terminated while bytes are on their way take all with them", async () => {
    const { code, stdout, stderr } = await runProcess("workers terminated during floods");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect((JSON.parse(stdout) as { more: number }).more).toBeLessThan(4);
  });
});
