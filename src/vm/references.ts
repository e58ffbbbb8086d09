/** References between host and guest: numbers in the guest, values in JavaScript. Each VM has a table of its own. */
import { BarecellError } from "../errors.ts";

/** A function of a guest's, as an opaque value: it can be passed back to functions of the same VM. */
export class FunctionReference {
  readonly #owner: References;
  readonly #number: bigint;

  /** Made by a VM only. */
  constructor(owner: References, number: bigint) {
    this.#owner = owner;
    this.#number = number;
  }

  /** The guest's number for it, or undefined if the reference is another VM's. */
  static numberOf(reference: FunctionReference, owner: References): bigint | undefined {
    return reference.#owner === owner ? reference.#number : undefined;
  }
}

/** The null reference is number 0 in both directions. */
export class References {
  readonly #values: unknown[] = [];
  readonly #numbers = new Map<unknown, bigint>();
  readonly #functions = new Map<bigint, FunctionReference>();

  /** The number for any JavaScript value; equal values have equal numbers. It is held as long as the VM is. */
  externToGuest(value: unknown): bigint {
    if (value === null) return 0n;
    const known = this.#numbers.get(value);
    // A Map takes -0 for 0, and the guest is to give back what it got.
    if (known !== undefined && Object.is(this.#values[Number(known) - 1], value)) return known;
    const number = BigInt(this.#values.push(value));
    this.#numbers.set(value, number);
    return number;
  }

  /** @throws BARECELL_GUEST_PROTOCOL if the guest made the number up */
  externFromGuest(number: bigint): unknown {
    if (number === 0n) return null;
    if (number > BigInt(this.#values.length)) {
      throw new BarecellError(
        "BARECELL_GUEST_PROTOCOL",
        `the guest returned an externref that the host never gave it (number ${number})`,
      );
    }
    return this.#values[Number(number) - 1];
  }

  /** One object for each function. Nothing is learned from the number, so the guest may choose any. */
  functionFromGuest(number: bigint): FunctionReference | null {
    if (number === 0n) return null;
    let reference = this.#functions.get(number);
    if (reference === undefined) {
      reference = new FunctionReference(this, number);
      this.#functions.set(number, reference);
    }
    return reference;
  }

  /** @returns undefined if the value is no function reference of this VM's */
  functionToGuest(value: unknown): bigint | undefined {
    if (value === null) return 0n;
    return value instanceof FunctionReference ? FunctionReference.numberOf(value, this) : undefined;
  }
}
