/** Reads the values of options. A wrong value throws commander's own error, which names the option. */
import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** Any text. */
export const text = (value: string): string => value;

/** Bytes, or with K, M or G (also KiB, MB …), which are powers of 1024. */
export function sizeInBytes(value: string): number {
  const found = /^(\d+)([kmg]?)(?:i?b)?$/i.exec(value);
  const bytes = found && Number(found[1]) * (UNITS[(found[2] ?? "").toLowerCase()] ?? 1);
  if (bytes === null || !Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError("It must be a number of bytes, or a number with K, M or G, such as 64M.");
  }
  return bytes;
}

/** A timer of Node cannot take more (2^31 - 1). */
const MAX_MS = 2_147_483_647;

/** Milliseconds; 0 is for "no limit". */
export function milliseconds(value: string): number {
  const ms = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  if (ms >= 0 && ms <= MAX_MS) return ms;
  throw new InvalidArgumentError(`It must be a number of milliseconds up to ${MAX_MS}, or 0 for no limit.`);
}

/** An amount of fuel: a whole number, larger than JavaScript's if need be. */
export function fuelCount(value: string): bigint {
  const fuel = /^\d{1,19}$/.test(value) ? BigInt(value) : -1n;
  if (fuel >= 0n && fuel < 2n ** 63n) return fuel;
  throw new InvalidArgumentError("It must be a whole number up to 2^63 - 1.");
}

/** The C compiler's level. */
export function optimizeLevel(value: string): 0 | 1 | 2 | 3 | "quick" {
  if (value === "quick") return value;
  const level = ([0, 1, 2, 3] as const).find((candidate) => String(candidate) === value);
  if (level !== undefined) return level;
  throw new InvalidArgumentError("It must be 0, 1, 2, 3 or quick.");
}

/** One of several words. */
export function choice<T extends string>(choices: readonly T[]): (value: string) => T {
  return (value) => {
    const found = choices.find((candidate) => candidate === value);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
  };
}

/** `NAME=VALUE`; the value may be empty and may hold `=`. */
export function pairs(value: string): readonly [string, string] {
  const at = value.indexOf("=");
  if (at > 0) return [value.slice(0, at), value.slice(at + 1)];
  throw new InvalidArgumentError("It must be NAME=VALUE.");
}

/** For an option that may stand several times. */
export function appendTo<T>(
  parse: (value: string) => T,
): (value: string, previous: readonly T[] | undefined) => readonly T[] {
  return (value, previous = []) => [...previous, parse(value)];
}

/** A directory of the host for the guest. */
export interface DirectoryOption {
  readonly host: string;
  readonly guest: string;
  readonly writable: boolean;
}

/** `HOST[::GUEST[::ro|::rw]]`. Without a guest's path it is the host's. */
export function directory(value: string): DirectoryOption {
  const [host = "", guest = host, access = "rw", ...rest] = value.split("::");
  if (host !== "" && guest !== "" && rest.length === 0 && (access === "ro" || access === "rw")) {
    return { host, guest, writable: access === "rw" };
  }
  throw new InvalidArgumentError("It must be HOST, HOST::GUEST, HOST::GUEST::ro or HOST::GUEST::rw.");
}

/** `HOST::GUEST` */
export function bundle(value: string): { readonly host: string; readonly guest: string } {
  const [host = "", guest = "", ...rest] = value.split("::");
  if (host !== "" && guest !== "" && rest.length === 0) return { host, guest };
  throw new InvalidArgumentError("It must be HOST::GUEST.");
}

/** `GUEST[::SIZE]` */
export function memoryDirectory(value: string): { readonly guest: string; readonly memoryBytes: number } {
  const [guest = "", size = "64M", ...rest] = value.split("::");
  if (guest === "" || rest.length > 0) throw new InvalidArgumentError("It must be GUEST or GUEST::SIZE.");
  return { guest, memoryBytes: sizeInBytes(size) };
}

/** A whole number. */
export function count(value: string): number {
  const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new InvalidArgumentError("It must be a whole number.");
}

/** Names, separated by commas. */
export function names(value: string): readonly string[] {
  const list = value.split(",").map((name) => name.trim());
  if (list.every((name) => name !== "")) return [...new Set(list)];
  throw new InvalidArgumentError("It must be names, separated by commas.");
}

/** A share in percent, without the sign. */
export function percent(value: string): number {
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value);
  throw new InvalidArgumentError("It must be a number of percent, such as 20.");
}
