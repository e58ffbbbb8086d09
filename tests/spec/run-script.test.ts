/** Planning, grouping and judging, on an engine without VMs. */
import { describe, expect, it } from "vitest";
import type { EngineModule } from "./engine.ts";
import { type FakeBehaviour, FakeEngine, FakeError, slotOf } from "./fake-engine.ts";
import { type Entry, runScript } from "./run-script.ts";

interface Run {
  readonly engine: FakeEngine;
  readonly entries: readonly Entry[];
  /** Line, outcome and the beginning of the reason. */
  readonly outcomes: readonly string[];
}

async function run(
  script: string,
  behaviour: FakeBehaviour = {},
  options: { modulesPerImage?: number; strict?: boolean } = {},
): Promise<Run> {
  const engine = new FakeEngine(behaviour);
  const entries = await runScript(Buffer.from(script), engine, {
    modulesPerImage: 32,
    strict: false,
    onProgress: () => {},
    ...options,
  });
  expect(engine.liveVms).toBe(0);
  const outcomes = entries.map(({ line, outcome, reason }) =>
    `${line} ${outcome} ${reason}`.trim().slice(0, 70),
  );
  return { engine, entries, outcomes };
}

const F = '(func (export "f") (result i32) (i32.const 0))';
const MEMORY = '(memory (export "memory") 1 1)';

describe("names", () => {
  it("belong to the place in the script where they are used", async () => {
    let calls = 0;
    const script = `(module $a ${F})
(assert_return (invoke $a "f") (i32.const 1))
(module $a ${F})
(assert_return (invoke $a "f") (i32.const 2))
(assert_return (invoke "f") (i32.const 3))`;
    const { engine, outcomes } = await run(script, { functions: { f: () => slotOf(++calls) } });
    expect(outcomes).toEqual(["1 passed", "2 passed", "3 passed", "4 passed", "5 passed"]);
    expect(engine.instantiated).toEqual(["#1 at line 1", "#2 at line 3"]);
  });

  it("can be registered anew", async () => {
    const linked: (readonly string[])[] = [];
    const script = `(module ${MEMORY})
(register "m")
(module (import "m" "memory" (memory 1)))
(module ${MEMORY})
(register "m")
(module (import "m" "memory" (memory 1)))`;
    await run(script, {
      onCompile: (modules: readonly EngineModule[]) => {
        for (const { name, link } of modules) linked.push([name, ...Object.values(link)]);
      },
    });
    expect(linked).toEqual([
      ["#1 at line 1"],
      ["#2 at line 3", "#1 at line 1"],
      ["#3 at line 4"],
      ["#4 at line 6", "#3 at line 4"],
    ]);
  });

  it("that nobody has are failures", async () => {
    const { outcomes } = await run('(invoke "f")\n(invoke $a "f")\n(register "x")\n(module instance $i $d)');
    expect(outcomes).toEqual([
      "1 failed there is no module yet",
      "2 failed no module is named $a",
      "3 failed there is no module yet",
      "4 failed no definition is named $d",
    ]);
  });
});

describe("images", () => {
  const many = Array.from({ length: 7 }, () => `(module ${MEMORY})`).join("\n");

  it("hold as many modules as they may", async () => {
    const { engine } = await run(many, {}, { modulesPerImage: 3 });
    expect(engine.compiled.map((names) => names.length)).toEqual([3, 3, 1]);
  });

  it("hold no more memory than a VM can have", async () => {
    const script = "(module (memory 65536))(module (memory 1))(module (memory 32767))(module (memory 1))";
    const { engine } = await run(script);
    expect(engine.compiled.map((names) => names.length)).toEqual([1, 2, 1]);
  });

  it("hold together what is linked, however much it is", async () => {
    const script = `(module ${MEMORY})(register "m")
${Array.from({ length: 5 }, () => '(module (import "m" "memory" (memory 1)))').join("\n")}
(module)`;
    const { engine } = await run(script, {}, { modulesPerImage: 2 });
    expect(engine.compiled.map((names) => names.length)).toEqual([6, 1]);
  });

  it("share the host's memory and table, but need not share its functions", async () => {
    const state = '(module (import "spectest" "memory" (memory 1)))';
    const print = '(module (import "spectest" "print" (func)))';
    const { engine } = await run(`${state}${print}${state}${print}`, {}, { modulesPerImage: 1 });
    expect(engine.compiled.map((names) => [names[0], names.length])).toEqual([
      ["spectest", 3],
      ["spectest", 2],
      ["spectest", 2],
    ]);
    // Once in each VM.
    expect(engine.instantiated.filter((name) => name === "spectest")).toHaveLength(3);
  });

  it("that cannot be compiled are taken apart until the guilty module is found", async () => {
    const script = `(module ${MEMORY})
(module $x ${MEMORY} ${F})
(register "x")
(module (import "x" "f" (func (result i32))) ${F})
(assert_return (invoke "f") (i32.const 0))
(module (import "x" "memory" (memory 1)) ${F})
(assert_return (invoke "f") (i32.const 0))
(assert_return (invoke $x "f") (i32.const 0))`;
    for (const words of ["no hint", "'#3 at line 4' is bad"]) {
      const { engine, outcomes } = await run(script, {
        onCompile: (modules) => {
          if (modules.some(({ name }) => name === "#3 at line 4")) {
            throw new FakeError("BARECELL_COMPILE_FAILED", words);
          }
        },
      });
      expect(outcomes).toEqual([
        "1 passed",
        "2 passed",
        `4 failed BARECELL_COMPILE_FAILED: ${words}`,
        `5 failed BARECELL_COMPILE_FAILED: ${words}`,
        "6 passed",
        "7 passed",
        "8 passed",
      ]);
      expect(engine.compiled).toContainEqual(["#2 at line 2", "#4 at line 6"]);
    }
  });

  it("take those along that import from the guilty one", async () => {
    const script = `(module $x ${MEMORY} ${F})
(register "x")
(module (import "x" "memory" (memory 1)) ${F})
(invoke "f")
(invoke $x "f")`;
    const { outcomes } = await run(script, {
      onCompile: () => {
        throw new FakeError("BARECELL_COMPILE_FAILED", "all is bad");
      },
    });
    expect(outcomes[1]).toContain("3 failed BARECELL_COMPILE_FAILED: all is bad (the module of line 1");
    expect(outcomes.every((outcome) => outcome.includes("failed"))).toBe(true);
  });

  it("are not tried again and again if the machine is to blame", async () => {
    let tries = 0;
    const { outcomes } = await run(`${many}`, {
      onCompile: () => {
        tries++;
        throw new FakeError("BARECELL_COMPILER_MISSING", "no cc");
      },
    });
    expect(tries).toBe(1);
    expect(outcomes).toHaveLength(7);
    expect(outcomes[6]).toContain("BARECELL_COMPILER_MISSING");
  });
});

describe("linking", () => {
  it("tells modules that cannot be linked without compiling them", async () => {
    const script = `(module ${F})
(register "m")
(assert_unlinkable (module (import "m" "g" (func))) "unknown import")
(assert_unlinkable (module (import "m" "f" (func))) "incompatible import type")
(assert_unlinkable (module (import "n" "f" (func))) "unknown import")
(module (import "n" "f" (func)))
(module (import "m" "f" (global i32)))`;
    const { engine, outcomes } = await run(script);
    expect(outcomes.slice(0, 4)).toEqual(["1 passed", "3 passed", "4 passed", "5 passed"]);
    expect(outcomes[4]).toContain("6 failed BARECELL_LINK_FAILED: unknown import");
    expect(outcomes[5]).toContain("7 failed BARECELL_LINK_FAILED");
    expect(engine.compiled).toEqual([["#1 at line 1"]]);
  });

  it("asks the VM where only the VM knows", async () => {
    const script = `(module (memory (export "memory") 1 5))
(register "m")
(assert_unlinkable (module (import "m" "memory" (memory 2))) "incompatible import type")`;
    expect((await run(script)).outcomes[1]).toContain(
      "3 failed it was instantiated; expected BARECELL_LINK_FAILED",
    );
    const onInstantiate = (name: string): void => {
      if (name === "#2 at line 3") throw new FakeError("BARECELL_LINK_FAILED");
    };
    expect((await run(script, { onInstantiate })).outcomes[1]).toBe("3 passed");
  });

  it("does not import from what was not instantiated", async () => {
    const script = `(module $m ${F})
(register "m")
(module (import "m" "f" (func (result i32))) ${F})
(assert_return (invoke "f") (i32.const 0))
(assert_return (invoke $m "f") (i32.const 0))`;
    const { engine, outcomes } = await run(script, {
      onInstantiate: () => {
        throw new FakeError("BARECELL_TRAP_UNREACHABLE");
      },
    });
    expect(outcomes.map((outcome) => outcome.slice(0, 8))).toEqual([
      "1 failed",
      "3 failed",
      "4 failed",
      "5 failed",
    ]);
    expect(engine.instantiated).toEqual(["#1 at line 1"]);
  });
});

describe("failures", () => {
  const trapping = (code: string): FakeBehaviour => ({
    functions: {
      f: () => {
        throw new FakeError(code);
      },
    },
  });
  const trap = (text: string): string => `(module ${F})\n(assert_trap (invoke "f") "${text}")`;

  it("must be of the expected kind", async () => {
    const outcome = async (text: string, code: string): Promise<string | undefined> =>
      (await run(trap(text), trapping(code))).outcomes[1];
    expect(await outcome("unreachable", "BARECELL_TRAP_UNREACHABLE")).toBe("2 passed");
    expect(await outcome("integer overflow", "BARECELL_TRAP_UNREACHABLE")).toContain(
      "2 failed it ended with",
    );
    expect(await outcome("unreachable", "BARECELL_TIMEOUT")).toContain(
      "2 failed it ended with BARECELL_TIMEOUT",
    );
    expect(await outcome("cast failure", "BARECELL_TRAP_UNREACHABLE")).toContain("no code for the trap");
    expect((await run(trap("unreachable"))).outcomes[1]).toContain("2 failed it returned");
  });

  it("of the runner itself do not end the run", async () => {
    const functions = {
      f: (): Uint8Array => {
        throw new TypeError("a bug");
      },
    };
    const { outcomes } = await run(`${trap("unreachable")}\n(invoke "f")\n(module)`, { functions });
    expect(outcomes).toEqual([
      "1 passed",
      "2 failed TypeError: a bug",
      "3 failed TypeError: a bug",
      "4 passed",
    ]);
  });
});

describe("refusals", () => {
  it("by name are skips where WebAssembly 2.0 does not know the module", async () => {
    const script = `(module (memory 1) (memory 1) ${F})
(assert_return (invoke "f") (i32.const 0))
(module (rec))
(thread $t (module))`;
    const { entries } = await run(script);
    expect(
      entries.map(({ outcome, reason }) => `${outcome} ${reason.replace(/: unexpected.*/, "")}`),
    ).toEqual([
      "skipped refused: multi-memory",
      "skipped refused: multi-memory",
      "skipped wabt cannot parse it (garbage collection)",
      "skipped refused: threads and atomics",
    ]);
    const strict = await run(script, {}, { strict: true });
    expect(strict.entries.slice(0, 3).map(({ outcome }) => outcome)).toEqual(["failed", "failed", "failed"]);
  });

  it("are failures where WebAssembly 2.0 knows the module", async () => {
    const { outcomes } = await run(`(module ${F})\n(invoke "f")`, {
      onCompile: () => {
        throw new FakeError("BARECELL_MODULE_UNSUPPORTED", "it uses the proposal 'good taste'");
      },
    });
    const reason = "failed refused: good taste; but this is a module of WebAssembly 2.0";
    expect(outcomes).toEqual([`1 ${reason}`, `2 ${reason}`]);
  });

  it("without a proposal's name are failures", async () => {
    const script = '(module (func (hocus pocus)))\n(module binary "\\00asm\\01\\00\\00\\00\\ff")';
    const { outcomes } = await run(script);
    expect(outcomes[0]).toContain('1 failed wabt cannot parse it: unexpected token "hocus"');
    expect(outcomes[1]).toContain("2 failed BARECELL_MODULE_INVALID");
  });

  it("excuse what the refused module would have changed", async () => {
    const script = `(module $m (table (export "table") 1 funcref) ${F})
(register "m")
(module $other ${F})
(module (import "m" "table" (table 1 funcref)) (memory 1) (memory 1))
(assert_return (invoke $m "f") (i32.const 1))
(assert_return (invoke $m "f") (i32.const 0))
(assert_return (invoke $other "f") (i32.const 1))`;
    const { outcomes } = await run(script);
    expect(outcomes.slice(3)).toEqual([
      "5 skipped refused: multi-memory (the module of line 4, which changes this one)".slice(0, 70),
      "6 passed",
      "7 failed got i32 0 (0x00000000), expected i32.const 1 (0x00000001)",
    ]);
  });

  it("are what malformed and invalid modules must meet", async () => {
    const script = String.raw`(assert_malformed (module quote "(func") "unexpected end")
(assert_malformed (module binary "\00asm\01\00\00\00\63\00") "malformed section id")
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_malformed (module quote "(func)") "unexpected end")
(assert_malformed (module binary "\00asm\01\00\00\00") "magic header")
(assert_invalid (module) "type mismatch")
(assert_invalid (module (func (hocus pocus))) "type mismatch")
(assert_invalid (module (table 1 funcref) (table 1 funcref)) "multiple tables")`;
    const { outcomes } = await run(script);
    expect(outcomes.map((outcome) => outcome.split(":")[0])).toEqual([
      "1 passed",
      "2 passed",
      "3 passed",
      "4 failed the module is accepted",
      "5 failed the module is accepted",
      "6 failed the module is accepted",
      "7 failed wabt cannot parse it",
      "8 skipped valid since WebAssembly 2.0",
    ]);
  });
});
