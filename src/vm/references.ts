/** References between host and guest: numbers in the guest, values in JavaScript. Each VM has a table of its own. */
import { BarecellError } from "../errors.ts";

/**
 * A function of a guest's, as an opaque value: it can be passed back to functions of the same VM. One module's references to a function are one object;
 * a module that imports it makes references of its own, which are another.
 */
export class FunctionReference {
  readonly #owner: object;
  readonly #number: bigint;

  /** Made by a VM only. */
  constructor(owner: object, number: bigint) {
    this.#owner = owner;
    this.#number = number;
  }

  /** The guest's number for it, or undefined if it is no reference, or another VM's. Only the constructor makes one: `instanceof` can be deceived. */
  static numberOf(value: unknown, owner: object): bigint | undefined {
    if (typeof value !== "object" || value === null || !(#owner in value)) return undefined;
    return value.#owner === owner ? value.#number : undefined;
  }
}

/** Stands for -0 among the keys, since a Map takes it for 0, and the guest is to give back what it got. */
const NEGATIVE_ZERO = Symbol("-0");

/** More functions than any module has that gives them out: a guest must not fill the host's memory with numbers that it makes up. */
const MAX_FUNCTIONS = 100_000;

/** The null reference is number 0 in both directions. */
export class References {
  #values: unknown[] = [];
  readonly #numbers = new Map<unknown, bigint>();
  readonly #functions = new Map<bigint, FunctionReference>();
  /** Whose the function references are: the VM's life until its next reset. */
  #owner = {};

  /** The VM is reset: its numbers mean nothing any more, and values that it held are let go. */
  clear(): void {
    this.#values = [];
    this.#numbers.clear();
    this.#functions.clear();
    this.#owner = {};
  }

  /** Whether the guest may hold JavaScript values. */
  get holdsValues(): boolean {
    return this.#values.length > 0;
  }

  /** The number for any JavaScript value; equal values have equal numbers. It is held as long as the VM is not reset. */
  externToGuest(value: unknown): bigint {
    if (value === null) return 0n;
    const key = Object.is(value, -0) ? NEGATIVE_ZERO : value;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const number = BigInt(this.#values.push(value));
    this.#numbers.set(key, number);
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

  /** One object for each number. Nothing is learned from the number, so the guest may choose any. */
  functionFromGuest(number: bigint): FunctionReference | null {
    if (number === 0n) return null;
    let reference = this.#functions.get(number);
    if (reference === undefined) {
      if (this.#functions.size >= MAX_FUNCTIONS) {
        throw new BarecellError(
          "BARECELL_GUEST_PROTOCOL",
          `the guest returned more than ${MAX_FUNCTIONS} different funcrefs`,
        );
      }
      reference = new FunctionReference(this.#owner, number);
      this.#functions.set(number, reference);
    }
    return reference;
  }

  /** @returns undefined if the value is no function reference of this VM's */
  functionToGuest(value: unknown): bigint | undefined {
    if (value === null) return 0n;
    return FunctionReference.numberOf(value, this.#owner);
  }
}
