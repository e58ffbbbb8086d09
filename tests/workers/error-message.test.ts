/** Errors as messages: every field of an error comes back, through the very serialisation that messages have. */
import { deserialize, serialize } from "node:v8";
import { describe, expect, it } from "vitest";
import { errorFromMessage, errorToMessage } from "../../dist/workers/error-message.js";
import { BarecellError, type ErrorCode, errorTable } from "../support/barecell.ts";

const sent = (error: unknown): Error => errorFromMessage(deserialize(serialize(errorToMessage(error))));

describe("a BarecellError", () => {
  it.each(Object.keys(errorTable) as ErrorCode[])("%s", (code) => {
    const error = new BarecellError(code, `message of ${code}`);
    const copy = sent(error) as BarecellError;
    expect(copy).toBeInstanceOf(BarecellError);
    expect({ ...copy.toJSON(), cure: copy.cure, kind: copy.kind }).toEqual({
      ...error.toJSON(),
      cure: error.cure,
      kind: error.kind,
    });
  });

  it("every property that one can have", () => {
    const backtrace = [
      { name: "f", functionIndex: 3, module: "app", address: "0x200" },
      { name: "stub", address: "0x100" },
    ];
    const error = new BarecellError("BARECELL_GUEST_EXIT", "m", {
      backtrace,
      exitCode: 7,
      limit: "timeoutMs",
      cause: "why",
    });
    const copy = sent(error);
    // All own properties, so that one which is added to the class and forgotten in the message fails here.
    const own = Object.getOwnPropertyNames(error).filter((key) => key !== "stack");
    expect(Object.getOwnPropertyNames(copy).filter((key) => key !== "stack")).toEqual(own);
    for (const key of own) expect(Reflect.get(copy, key), key).toEqual(Reflect.get(error, key));
  });

  it("without what it has not", () => {
    const copy = sent(new BarecellError("BARECELL_BUSY", "m")) as BarecellError;
    expect([copy.exitCode, copy.limit, copy.cause, "cause" in copy]).toEqual([
      undefined,
      undefined,
      undefined,
      false,
    ]);
  });
});

describe("causes", () => {
  it.each([null, "text", 5, 7n, false])("%s", (cause) => {
    expect(sent(new BarecellError("BARECELL_BUSY", "m", { cause })).cause).toBe(cause);
  });
  it("errors of other classes, with code, stack and causes of their own", () => {
    const inner = Object.assign(new TypeError("inner", { cause: "deep" }), { code: "EINNER" });
    const copy = sent(new BarecellError("BARECELL_BUSY", "m", { cause: inner })).cause as Error;
    expect(copy).toBeInstanceOf(Error);
    expect(copy).toMatchObject({ name: "TypeError", message: "inner", code: "EINNER", cause: "deep" });
    expect(copy.stack).toBe(inner.stack);
    expect(Object.keys(copy)).toEqual(["code"]);
  });
  it("a BarecellError in a BarecellError", () => {
    const cause = new BarecellError("BARECELL_TIMEOUT", "inner", { limit: "cpuTimeMs" });
    const copy = sent(new BarecellError("BARECELL_HOST_FUNCTION_FAILED", "m", { cause })).cause;
    expect(copy).toBeInstanceOf(BarecellError);
    expect(copy).toMatchObject({ code: "BARECELL_TIMEOUT", message: "inner", limit: "cpuTimeMs" });
  });
  it("what is no error and no plain value, as text", () => {
    expect(sent(new BarecellError("BARECELL_BUSY", "m", { cause: { a: 1 } })).cause).toBe("[object Object]");
    expect(sent(new BarecellError("BARECELL_BUSY", "m", { cause: Symbol("s") })).cause).toBe("Symbol(s)");
    expect(sent(new BarecellError("BARECELL_BUSY", "m", { cause: () => 0 })).cause).toBe("() => 0");
  });
  it("one that is its own cause", () => {
    const error = new Error("round");
    error.cause = error;
    let depth = 0;
    for (let at: unknown = sent(error); at instanceof Error; at = at.cause) depth++;
    expect(depth).toBeGreaterThan(1);
    expect(depth).toBeLessThan(20);
  });
});

describe("what is thrown and is no BarecellError", () => {
  it.each([
    ["a string", "text", "text"],
    ["undefined", undefined, "undefined"],
    ["an object without text", Object.create(null), "something that has no text"],
  ])("%s", (_, thrown, message) => {
    expect(sent(thrown)).toMatchObject({ name: "Error", message });
  });
  it("an error whose getters throw", () => {
    const error = new Error("m");
    for (const key of ["stack", "name", "cause", "code", "message"]) {
      Object.defineProperty(error, key, {
        get() {
          throw new Error("a getter");
        },
      });
    }
    expect(sent(error)).toMatchObject({ name: "Error", message: "something that has no text" });
  });
});
