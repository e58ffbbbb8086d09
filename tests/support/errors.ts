/** Expecting errors by code. */
import { expect } from "vitest";
import { type BarecellError, type ErrorCode, isBarecellError } from "./barecell.ts";

/** Runs something that must fail with a BarecellError, and returns the error. */
export async function failure(run: () => unknown, code: ErrorCode): Promise<BarecellError> {
  let result: unknown;
  try {
    result = await run();
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    expect(`${error.code}`, `${error.message}\n${JSON.stringify(error.backtrace)}`).toBe(code);
    return error;
  }
  throw new Error(`expected ${code}, but it returned ${String(result)}`);
}

/** Names of the functions in a backtrace, innermost first. */
export function names(error: BarecellError): string[] {
  return error.backtrace.map((frame) => frame.name);
}
