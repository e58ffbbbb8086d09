/** The table of WASI's argument names against the functions that the addon has. */
import { expect, it } from "vitest";
import { capturesOf } from "../../src/observe/trace-batch.ts";
import { errnoName, wasiArguments } from "../../src/observe/wasi-signatures.ts";
import { addon } from "../../src/vm/addon.ts";

it("every function has a name and a meaning for each of its arguments", () => {
  const functions = addon().wasiSignatures();
  expect(functions.length).toBeGreaterThan(40);
  for (const { name, params } of functions) {
    const known = wasiArguments(name) ?? [];
    expect(known.length, name).toBe(params.length);
    expect(new Set(known.map((argument) => argument.name)).size, name).toBe(params.length);
    for (const { kind, resultBytes } of known) {
      expect(kind, name).toBeDefined();
      if (kind === "result") expect([2, 4, 8], name).toContain(resultBytes);
    }
    for (const { pointer, length, limit } of capturesOf(known).captures) {
      expect(params[pointer], name).toBe("i");
      if (length >= 0) expect([params[length], known[length]?.kind], name).toEqual(["i", "number"]);
      if (limit >= 0) expect(known[limit]?.kind, name).toBe("result");
    }
    for (const argument of known) {
      const found = known.some((other) => other.name === argument.limit);
      expect(found, `${name}: ${argument.limit}`).toBe(argument.limit !== undefined);
    }
  }
});

it("error numbers have their names", () => {
  // typenames.witx of the specification
  expect([0, 8, 21, 28, 44, 52, 64, 76, 77].map(errnoName)).toEqual([
    "success",
    "badf",
    "fault",
    "inval",
    "noent",
    "nosys",
    "pipe",
    "notcapable",
    undefined,
  ]);
});
