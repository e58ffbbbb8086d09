/**
 * Mailbox and linear memory changed by another thread while the host reads them: what is checked must be what is used. Runs on the sanitizer build too
 * (`npm run test:native`), where a value that changed after its check shows as an access outside.
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import {
  BC_HEADER_MAGIC,
  BC_IMAGE_BASE,
  BC_MAILBOX_HEADER_BYTES,
  BC_SLOT_BYTES,
  BC_TABLES_GPA,
} from "../../src/abi.ts";
import { BARECELL_URL } from "../support/barecell.ts";
import { isSvm, slowness } from "../support/environment.ts";
import { assemble } from "../support/raw-code.ts";
import { anyPort, fuzzed, storm } from "./cases/host-calls.ts";
import { NEIGHBOUR_RESULTS, rawHost } from "./hostile-case.ts";

interface RaceReport {
  readonly outcomes: Readonly<Record<string, number>>;
  readonly writes: number;
  readonly largest: number;
  readonly output: number;
  readonly fresh: readonly unknown[];
}

const MAX_OUTPUT = 100_000;
const MAX_MEMORY = 8 * 65_536;
const SEED = Number(process.env["BARECELL_TEST_SEED"] ?? 20_260_102);
const { header, memories } = fuzzed.image.layout;
const mailboxGpa = header.mailbox - BC_IMAGE_BASE;

function run(): Promise<{ report: RaceReport | undefined; end: unknown; stderr: string }> {
  // Every third host call is one for growth: GROW asks for what the racing thread has just made of the mailbox.
  const ports = `${anyPort}\n mov %r12d, %eax\n and $3, %eax\n jnz 7f\n mov $BC_PORT_GROW, %edx\n 7:\n`;
  const code = assemble(new Map([["race", storm(SEED % 1000, 400, ports)]])).get("race") as Uint8Array;
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("racing.mjs", import.meta.url)), {
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let report: RaceReport | undefined;
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("message", (message) => {
      report = message as RaceReport;
    });
    child.on("error", reject);
    const late = setTimeout(() => child.kill("SIGKILL"), 120_000 * slowness);
    child.on("close", (exitCode, signal) => {
      clearTimeout(late);
      resolve({ report, end: { exitCode, signal }, stderr });
    });
    child.send({
      url: BARECELL_URL,
      bytes: fuzzed.withCode(code).bytes,
      good: rawHost.image.bytes,
      seed: SEED,
      rounds: isSvm ? 2 : 12,
      options: {
        wasi: {
          args: ["a"],
          env: { A: "b" },
          stdin: new Uint8Array(10_000),
          stdout: "capture",
          stderr: "capture",
        },
        unknownImports: "trap",
        afterTrap: "keep",
        maxOutputBytes: MAX_OUTPUT,
        maxMemoryBytes: MAX_MEMORY,
        timeoutMs: 100 * slowness,
      },
      layout: {
        segments: fuzzed.image.layout.segments.filter((one) => one.fileBytes > 0),
        magicGpa: BC_TABLES_GPA,
        magic: BC_HEADER_MAGIC,
        header: [mailboxGpa, BC_MAILBOX_HEADER_BYTES],
        slots: [mailboxGpa + BC_MAILBOX_HEADER_BYTES, 16 * BC_SLOT_BYTES],
        linear: [memories[0]?.physical ?? 0, 0x2000],
      },
    });
  });
}

it(
  `the host survives a mailbox that changes under its eyes (seed ${SEED})`,
  async () => {
    const { report, end, stderr } = await run();
    expect(stderr).toBe("");
    expect(end).toEqual({ exitCode: 0, signal: null });
    if (!report) throw new Error("the child reported nothing");
    const { outcomes, writes, largest, output, fresh } = report;
    // The thread did race, and calls did come to their ends.
    expect(writes).toBeGreaterThan(isSvm ? 100 : 10_000);
    expect(Object.keys(outcomes).length, JSON.stringify(outcomes)).toBeGreaterThan(0);
    for (const outcome of Object.keys(outcomes)) {
      expect(outcome).toMatch(/^(true|BARECELL_(TRAP_\w+|TIMEOUT|OUTPUT_LIMIT|GUEST_PROTOCOL))$/);
    }
    expect(largest).toBeLessThanOrEqual(MAX_MEMORY);
    expect(output).toBeLessThanOrEqual(MAX_OUTPUT);
    expect(fresh).toEqual(NEIGHBOUR_RESULTS);
    if (process.env["BARECELL_HOSTILE_PRINT"])
      process.stderr.write(`${JSON.stringify({ outcomes, writes, largest, output })}\n`);
  },
  180_000 * slowness,
);
