/** The host's view of a linear memory of a VM. Every access is checked and copied. */
import { BarecellError } from "../errors.ts";
import type { NativeVm } from "./addon.ts";

export class LinearMemoryView {
  readonly #native: NativeVm;
  readonly #index: number;
  readonly #check: () => void;

  /** @param index which of the VM's memories; one that does not exist has no bytes; @param check throws if nobody may look at it now */
  constructor(native: NativeVm, index: number, check: () => void) {
    this.#native = native;
    this.#index = index;
    this.#check = check;
  }

  /** Size now, bytes. A guest that runs may be growing it. @throws BARECELL_DISPOSED, BARECELL_NOT_INSTANTIATED */
  get byteLength(): number {
    this.#check();
    return this.#native.linearBytes(this.#index);
  }

  /**
   * A copy of a range; it does not follow later changes.
   * @throws BARECELL_ARGUMENT_INVALID if any byte lies outside, BARECELL_DISPOSED, BARECELL_NOT_INSTANTIATED
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.#check();
    this.#checkNumber("offset", offset);
    this.#checkNumber("length", length);
    const bytes = this.#native.readLinear(this.#index, offset, length);
    if (bytes === null) throw this.#outside(offset, length);
    return bytes;
  }

  /** Writes bytes, all or none. @throws as `read` */
  write(offset: number, bytes: Uint8Array): void {
    this.#check();
    this.#checkNumber("offset", offset);
    if (!(bytes instanceof Uint8Array)) {
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", "bytes must be a Uint8Array");
    }
    if (!this.#native.writeLinear(this.#index, offset, bytes)) throw this.#outside(offset, bytes.length);
  }

  #checkNumber(name: string, value: number): void {
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return;
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${name} must be a whole number that is not negative, not ${String(value)}`,
    );
  }

  #outside(offset: number, length: number): BarecellError {
    return new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `the range of ${length} bytes at ${offset} is not inside linear memory, which has ${this.#native.linearBytes(this.#index)} bytes`,
    );
  }
}
