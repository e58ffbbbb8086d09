/** `compile({ signal })`: wherever the signal comes, no process, no file and no half image is left. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CompileStep, compile } from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { wat } from "../support/modules.ts";

const STEPS: readonly CompileStep[] = ["validate", "translate", "compile", "link"];
const module = wat("cancelled", `(module (func (export "f") (result i32) (i32.const 1)))`);
/** Takes the C compiler seconds. */
const large = wat(
  "large",
  `(module (memory 1) ${Array.from(
    { length: 800 },
    (_, i) =>
      `(func (export "f${i}") (param i32) (result i32) ${"(local.set 0 (i32.mul (i32.load (local.get 0)) (i32.const 77)))".repeat(20)} (local.get 0))`,
  ).join("")})`,
);

const before = process.env["TMPDIR"];
const own = mkdtempSync(join(tmpdir(), "cancel-test-"));
const temporary = join(own, "tmp");
const cache = join(own, "cache");
beforeAll(() => {
  mkdirSync(temporary);
  process.env["TMPDIR"] = temporary;
});
afterAll(() => {
  if (before === undefined) delete process.env["TMPDIR"];
  else process.env["TMPDIR"] = before;
  rmSync(own, { recursive: true, force: true });
});

/** Processes whose working folder is in ours: the compiler's, all of them. */
function compilers(): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return execFileSync("readlink", [`/proc/${pid}/cwd`], { encoding: "utf8" }).startsWith(temporary);
    } catch {
      return false;
    }
  });
}

/** What was killed is gone a moment later. */
async function expectNoCompilers(): Promise<void> {
  const gone = async (): Promise<void> => {
    while (compilers().length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await soon("the compiler's processes", gone());
}

function expectNothingLeft(): void {
  expect(readdirSync(temporary)).toEqual([]);
  expect(existsSync(cache) ? readdirSync(cache).filter((name) => name.endsWith(".cell")) : []).toEqual([]);
}

describe("a signal", () => {
  it.each(STEPS)("that comes when the step '%s' begins", async (step) => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const options = {
      cache,
      signal: controller.signal,
      onProgress: (now: CompileStep) => {
        if (now === step) controller.abort(reason);
      },
    };
    const error = await failure(() => compile(module, options), "BARECELL_CANCELLED");
    expect(error.cause).toBe(reason);
    expectNothingLeft();
  });

  it("that was there before starts nothing", async () => {
    const steps: CompileStep[] = [];
    const options = {
      cache,
      signal: AbortSignal.abort(),
      onProgress: (step: CompileStep) => steps.push(step),
    };
    await failure(() => compile(module, options), "BARECELL_CANCELLED");
    expect(steps).toEqual([]);
    expectNothingLeft();
  });

  it("that comes at any moment, in the middle of every tool", async () => {
    for (const delayMs of [0, 20, 60, 150, 300, 500, 800, 1200, 1800]) {
      const signal = AbortSignal.timeout(delayMs);
      // A fast machine may be done before the last ones.
      const end = await soon(
        "the compilation",
        compile(large, { cache: false, signal }).then(
          () => "done",
          (error: { code: string }) => error.code,
        ),
      );
      expect(["done", "BARECELL_CANCELLED"]).toContain(end);
      if (delayMs < 100) expect(end).toBe("BARECELL_CANCELLED");
      expectNothingLeft();
      await expectNoCompilers();
    }
  });

  it("kills a C compiler that would never end, and what that started", async () => {
    const endless = join(own, "endless-cc");
    const script = '#!/bin/sh\ncase "$*" in *-version*|*-print-*) exec cc "$@";; esac\nsleep 1000\nexit 1\n';
    writeFileSync(endless, script, { mode: 0o755 });
    const given = process.env["CC"];
    process.env["CC"] = endless;
    try {
      const controller = new AbortController();
      let running = 0;
      const onProgress = (step: CompileStep): void => {
        if (step !== "compile") return;
        const wait = setInterval(() => {
          running = compilers().length;
          if (running < 2) return;
          clearInterval(wait);
          controller.abort();
        }, 20);
      };
      const options = { cache: false, signal: controller.signal, onProgress } as const;
      await soon(
        "the compilation",
        failure(() => compile(module, options), "BARECELL_CANCELLED"),
      );
      expect(running).toBeGreaterThan(1);
      expectNothingLeft();
      await expectNoCompilers();
    } finally {
      if (given === undefined) delete process.env["CC"];
      else process.env["CC"] = given;
    }
  });

  it("that comes afterwards changes nothing", async () => {
    const controller = new AbortController();
    const image = await compile(module, { cache, signal: controller.signal });
    controller.abort();
    expect(image.exports.map(({ name }) => name)).toEqual(["f"]);
    expect(
      readFileSync(join(cache, readdirSync(cache).find((name) => name.endsWith(".cell")) ?? "")).length,
    ).toBe(image.bytes.length);
  });

  it("that is none is refused", async () => {
    const signal = { aborted: false } as AbortSignal;
    await failure(() => compile(module, { cache: false, signal }), "BARECELL_ARGUMENT_INVALID");
  });
});
