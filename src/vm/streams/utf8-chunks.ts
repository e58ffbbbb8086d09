/** Input chunks as bytes. */

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;

/** Strings become UTF-8, and a character whose two halves are in two strings is one character. */
export class Utf8Chunks {
  /** The first half of a character, or nothing. */
  #half = "";

  /** @throws TypeError for what is neither a string nor bytes */
  bytesOf(chunk: unknown): Uint8Array {
    if (chunk instanceof Uint8Array) return this.#half === "" ? chunk : Buffer.concat([this.end(), chunk]);
    if (typeof chunk !== "string") {
      throw new TypeError(
        `a chunk of input must be a Uint8Array or a string, not ${chunk === null ? "null" : typeof chunk}`,
      );
    }
    const text = this.#half + chunk;
    const split = isHighSurrogate(text.charCodeAt(text.length - 1));
    this.#half = split ? text.slice(-1) : "";
    return Buffer.from(split ? text.slice(0, -1) : text);
  }

  /** What is left when nothing follows: half a character is U+FFFD, as everywhere in UTF-8. */
  end(): Uint8Array {
    const rest = Buffer.from(this.#half);
    this.#half = "";
    return rest;
  }
}
