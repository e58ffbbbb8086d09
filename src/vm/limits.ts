/** What a run of the guest may take: stated per VM, and for single calls. All of it is enforced outside the guest, or by its page tables. */
import { BC_LINEAR_MAX_BYTES, BC_MEMORIES_MAX } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import { checkFuel, UNLIMITED_FUEL } from "./fuel.ts";
import { invalid } from "./option-checks.ts";

export interface RunLimits {
  /** Time for starting, and for each call, host functions included, milliseconds; Infinity for none. Default 10,000. */
  readonly timeoutMs?: number;
  /** The same less the time of host functions in TypeScript. Default Infinity: `timeoutMs` holds for all. */
  readonly guestTimeoutMs?: number;
  /** Processor time of the guest's thread, less that of host functions in TypeScript, milliseconds. Default Infinity: it is never more than `timeoutMs`. */
  readonly cpuTimeMs?: number;
  /** Host calls that leave the VM, of each call. Default 10,000,000. */
  readonly maxHostCalls?: number;
  /** How far linear memory may grow, bytes, all memories of the VM together; rounded down to whole pages of 64 KiB. Default 256 MiB. For a call: at most what
   * the VM was booted with. */
  readonly maxMemoryBytes?: number;
  /** Stack, bytes; rounded down to whole pages of 4 KiB. Default and most: what the image was compiled with. */
  readonly maxStackBytes?: number;
  /** How far each table may grow, elements. Default and most: what the image was compiled with. */
  readonly maxTableElements?: number;
  /** Captured output, both streams together, bytes, in the VM's whole life. Default 64 MiB. */
  readonly maxOutputBytes?: number;
  /** How much fuel starting, and each call, may use up; only with an image compiled with `metering: true`. Default: no limit. */
  readonly fuel?: number | bigint;
}

/** Those that are numbers. */
type LimitName = Exclude<keyof RunLimits, "fuel">;

/** In the order of `LimitNumbers` in native/vm_config.h. Least and largest value; `ms` may be fractional and Infinity. */
const TABLE: readonly { name: LimitName; min: number; max: number; ms?: true; standard: number }[] = [
  { name: "timeoutMs", min: 0, max: Number.POSITIVE_INFINITY, ms: true, standard: 10_000 },
  {
    name: "guestTimeoutMs",
    min: 0,
    max: Number.POSITIVE_INFINITY,
    ms: true,
    standard: Number.POSITIVE_INFINITY,
  },
  { name: "cpuTimeMs", min: 0, max: Number.POSITIVE_INFINITY, ms: true, standard: Number.POSITIVE_INFINITY },
  { name: "maxHostCalls", min: 0, max: Number.MAX_SAFE_INTEGER, standard: 10_000_000 },
  { name: "maxMemoryBytes", min: 0, max: BC_MEMORIES_MAX * BC_LINEAR_MAX_BYTES, standard: 256 * 2 ** 20 },
  { name: "maxStackBytes", min: 4096, max: 2 ** 32, standard: 2 ** 32 },
  { name: "maxTableElements", min: 0, max: 2 ** 32 - 1, standard: 2 ** 32 - 1 },
  { name: "maxOutputBytes", min: 0, max: 2 ** 40, standard: 64 * 2 ** 20 },
];

const NUMBER_NAMES: readonly LimitName[] = TABLE.map(({ name }) => name);
export const LIMIT_NAMES: readonly (keyof RunLimits)[] = [...NUMBER_NAMES, "fuel"];

/** `StopReason` of native/kick.h: which limit a timeout was. */
const TIME_LIMITS: readonly (LimitName | undefined)[] = [
  undefined,
  "timeoutMs",
  "guestTimeoutMs",
  "cpuTimeMs",
];

/** Limits, checked and completed. Immutable. */
export class Limits {
  /** For the addon: in the order of the table, 0 for no time limit. */
  readonly numbers: Float64Array;
  /** More digits than a number has; UNLIMITED_FUEL for no limit. */
  readonly fuel: bigint;

  private constructor(numbers: Float64Array, fuel: bigint) {
    this.numbers = numbers;
    this.fuel = fuel;
  }

  /** @throws BARECELL_ARGUMENT_INVALID */
  static of(given: RunLimits): Limits {
    // As for most VMs.
    if (LIMIT_NAMES.every((name) => given[name] === undefined)) return Limits.#standard;
    return Limits.#all(given);
  }

  static readonly #standard: Limits = Limits.#all({});

  static #all(given: RunLimits): Limits {
    const numbers = Float64Array.from(TABLE, (entry) =>
      check(entry, valueOr(given[entry.name], entry.standard)),
    );
    return new Limits(numbers, given.fuel === undefined ? UNLIMITED_FUEL : checkFuel(given.fuel));
  }

  /** These with some others; memory can only be lowered. @throws BARECELL_ARGUMENT_INVALID */
  with(changes: RunLimits): Limits {
    const numbers = this.numbers.slice();
    TABLE.forEach((entry, i) => {
      const wanted = changes[entry.name];
      if (wanted === undefined) return;
      const value = check(entry, wanted);
      const own = this.numbers[i] as number;
      if (entry.name === "maxMemoryBytes" && value > own) {
        throw invalid(
          `maxMemoryBytes of a call can be at most what the VM was booted with, ${own}, not ${value}`,
        );
      }
      numbers[i] = value;
    });
    return new Limits(numbers, changes.fuel === undefined ? this.fuel : checkFuel(changes.fuel));
  }

  equals(other: Limits): boolean {
    return this.fuel === other.fuel && this.numbers.every((value, i) => value === other.numbers[i]);
  }

  get(name: LimitName): number {
    return this.numbers[NUMBER_NAMES.indexOf(name)] as number;
  }

  /** 0: none. The first of the table; asked for in every run, so not by its name. */
  get timeoutMs(): number {
    return this.numbers[0] as number;
  }

  /** The time limit that a run came to. @param code of the native outcome */
  timeoutOf(code: number): { readonly name: LimitName; readonly ms: number } {
    const name = TIME_LIMITS[code];
    if (name === undefined) throw new BarecellError("BARECELL_INTERNAL", `no time limit has number ${code}`);
    return { name, ms: this.get(name) };
  }
}

/** Only what is left out has the standard value: a null may be somebody's mistake. */
function valueOr(given: number | undefined, standard: number): number {
  return given === undefined ? standard : given;
}

function check(entry: (typeof TABLE)[number], value: number): number {
  const { name, min, max, ms } = entry;
  if (ms) {
    if (value === Number.POSITIVE_INFINITY) return 0;
    if (typeof value === "number" && value > 0) return value;
    throw invalid(`${name} must be a positive number of milliseconds, or Infinity, not ${String(value)}`);
  }
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(`${name} must be a whole number from ${min} to ${max}, not ${String(value)}`);
}
