/** Checks that the readers of options share. */
import { BarecellError } from "../errors.ts";

export function invalid(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}

export function trueOrFalse(name: string, value: boolean): boolean {
  if (typeof value === "boolean") return value;
  throw invalid(`${name} must be true or false, not ${String(value)}`);
}

export function oneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw invalid(`${name} must be one of ${allowed.join(", ")}, not ${String(value)}`);
}

export function wholeNumber(name: string, value: number, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${name} must be a whole number from ${min} to ${max}, not ${String(value)}`);
}
