/** Fuel of a VM whose image is metered: the limit that goes in, the count that comes out. What is counted: docs/limits.md. */
import { BarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { NativeVm } from "./addon.ts";
import { invalid } from "./option-checks.ts";

/** As much as the guest's register holds; more than any machine executes in a hundred years. */
export const UNLIMITED_FUEL: bigint = 2n ** 63n - 1n;

/** @throws BARECELL_ARGUMENT_INVALID */
export function checkFuel(value: number | bigint): bigint {
  const fuel = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof fuel === "bigint" && fuel >= 0n && fuel <= UNLIMITED_FUEL) return fuel;
  throw invalid(
    `fuel must be a whole number from 0 to 2^63 - 1, as a number or a bigint, not ${String(value)}`,
  );
}

export class Fuel {
  readonly #native: NativeVm;
  readonly #isMetered: boolean;
  #limit = 0n;

  constructor(image: Image, native: NativeVm) {
    this.#native = native;
    this.#isMetered = image.manifest.metering;
  }

  /**
   * Fills up, for the next run.
   * @param limit checked
   * @throws BARECELL_METERING_MISSING if it is a limit, and the image does not count
   */
  fill(limit: bigint): void {
    if (!this.#isMetered) {
      if (limit !== UNLIMITED_FUEL) throw missing("a limit of fuel");
      return;
    }
    if (limit === this.#limit) return;
    this.#native.setFuel(limit);
    this.#limit = limit;
  }

  /**
   * What the last run used up, at most its limit. A guest that escaped from WebAssembly could say any number; it is made to fit.
   * @throws BARECELL_METERING_MISSING
   */
  get used(): bigint {
    if (!this.#isMetered) throw missing("counting fuel");
    const used = this.#limit - this.#native.fuelLeft();
    if (used < 0n) return 0n;
    if (used > this.#limit) return this.#limit;
    return used;
  }
}

function missing(what: string): BarecellError {
  return new BarecellError(
    "BARECELL_METERING_MISSING",
    `${what} needs an image that counts fuel; compile it with metering: true (--metering)`,
  );
}
