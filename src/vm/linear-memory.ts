/** The host's view of a linear memory of a VM. Every access is checked and copied. */
import { BarecellError } from "../errors.ts";
import type { NativeVm } from "./addon.ts";
import type { StructLayout, StructValues } from "./struct.ts";

const decoder = new TextDecoder("utf-8");
const strictDecoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

export interface LinearMemoryOptions {
  /** Which of the VM's memories; one that does not exist has no bytes. */
  readonly index: number;
  /** Throws if nobody may look at it now. */
  readonly check: () => void;
  /** Whether addresses and lengths come as the guest's i32, where those from 2^31 on are negative. */
  readonly takesI32?: boolean;
}

export class LinearMemoryView {
  readonly #native: NativeVm;
  readonly #options: LinearMemoryOptions;

  /** Made by a VM only. */
  constructor(native: NativeVm, options: LinearMemoryOptions) {
    this.#native = native;
    this.#options = options;
  }

  /** Size now, bytes. A guest that runs may be growing it. @throws BARECELL_DISPOSED, BARECELL_NOT_INSTANTIATED, BARECELL_CONTEXT_STALE */
  get byteLength(): number {
    this.#options.check();
    return this.#native.linearBytes(this.#options.index);
  }

  /**
   * A copy of a range; it does not follow later changes.
   * @throws BARECELL_MEMORY_RANGE if any byte lies outside, BARECELL_ARGUMENT_INVALID, BARECELL_DISPOSED, BARECELL_NOT_INSTANTIATED,
   *   BARECELL_CONTEXT_STALE
   */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.#options.check();
    const from = this.#number("offset", offset);
    const count = this.#number("length", length);
    const bytes = this.#native.readLinear(this.#options.index, from, count);
    if (bytes === null) throw this.#outside(from, count);
    return bytes;
  }

  /** Writes bytes, all or none. @throws as `read` */
  write(offset: number, bytes: Uint8Array): void {
    this.#options.check();
    const at = this.#number("offset", offset);
    if (!(bytes instanceof Uint8Array)) {
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", "bytes must be a Uint8Array");
    }
    if (!this.#native.writeLinear(this.#options.index, at, bytes)) throw this.#outside(at, bytes.length);
  }

  /**
   * Text in UTF-8. What is no UTF-8 becomes U+FFFD, or with `fatal` an error.
   * @throws as `read`
   */
  readString(offset: number, lengthBytes: number, options: { readonly fatal?: boolean } = {}): string {
    const bytes = this.read(offset, lengthBytes);
    if (options.fatal !== true) return decoder.decode(bytes);
    try {
      return strictDecoder.decode(bytes);
    } catch (cause) {
      throw new BarecellError(
        "BARECELL_ARGUMENT_INVALID",
        `the ${bytes.length} bytes at ${offset} are not UTF-8`,
        { cause },
      );
    }
  }

  /**
   * Text in UTF-8 up to a NUL byte, as C has it.
   * @param maxBytes how far to look for the NUL
   * @throws as `read`; BARECELL_MEMORY_RANGE too if there is no NUL within `maxBytes` or up to the end of memory
   */
  readCString(offset: number, maxBytes: number): string {
    const start = this.#number("offset", offset);
    const limit = this.#number("maxBytes", maxBytes);
    const parts: Uint8Array[] = [];
    // In pieces: the end of memory may be nearer than maxBytes.
    for (let at = 0; at < limit; ) {
      const left = Math.min(this.byteLength - start - at, limit - at, 4096);
      if (left <= 0) break;
      const piece = this.read(start + at, left);
      const end = piece.indexOf(0);
      parts.push(end < 0 ? piece : piece.subarray(0, end));
      if (end >= 0) return decoder.decode(Buffer.concat(parts));
      at += left;
    }
    this.#options.check();
    throw new BarecellError(
      "BARECELL_MEMORY_RANGE",
      `no NUL byte ends the string at ${start} within ${limit} bytes`,
    );
  }

  /**
   * Writes text as UTF-8, all or nothing.
   * @param maxBytes room that there is for it
   * @returns bytes written
   * @throws as `read`; BARECELL_MEMORY_RANGE too if the text takes more than `maxBytes`
   */
  writeString(offset: number, text: string, maxBytes: number): number {
    if (typeof text !== "string")
      throw new BarecellError("BARECELL_ARGUMENT_INVALID", "text must be a string");
    const bytes = encoder.encode(text);
    if (bytes.length > this.#number("maxBytes", maxBytes)) {
      throw new BarecellError(
        "BARECELL_MEMORY_RANGE",
        `the text takes ${bytes.length} bytes, and there is room for ${maxBytes}`,
      );
    }
    this.write(offset, bytes);
    return bytes.length;
  }

  /** The fields of a structure (`defineStruct`), copied at one moment. @throws as `read` */
  readStruct<Layout extends StructLayout>(offset: number, layout: Layout): StructValues<Layout> {
    return layout.decode(this.read(offset, layout.sizeBytes)) as StructValues<Layout>;
  }

  /** Writes the fields that are given, and leaves the others. @throws as `read`, and for values of the wrong type */
  writeStruct<Layout extends StructLayout>(
    offset: number,
    layout: Layout,
    values: Partial<StructValues<Layout>>,
  ): void {
    const bytes = this.read(offset, layout.sizeBytes);
    layout.encode(bytes, values);
    this.write(offset, bytes);
  }

  #number(name: string, value: number): number {
    if (typeof value === "number" && Number.isSafeInteger(value)) {
      if (value >= 0) return value;
      if (this.#options.takesI32 && value >= -(2 ** 31)) return value + 2 ** 32;
    }
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${name} must be a whole number that is not negative, not ${String(value)}`,
    );
  }

  #outside(offset: number, length: number): BarecellError {
    return new BarecellError(
      "BARECELL_MEMORY_RANGE",
      `the range of ${length} bytes at ${offset} is not inside linear memory, which has ${this.#native.linearBytes(this.#options.index)} bytes`,
    );
  }
}
