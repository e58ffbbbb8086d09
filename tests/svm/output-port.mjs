// One output stream of the machine: everything up to the end mark goes on to a stream of this process.

/** @typedef {import("node:net").Socket} Socket */

export class OutputPort {
  #source;
  #target;
  #mark;
  /** Bytes that may be the beginning of the mark. */
  #held = Buffer.alloc(0);
  #finish = () => {};

  /** Resolves when the end mark has come. @type {Promise<void>} */
  ended = new Promise((resolve) => {
    this.#finish = resolve;
  });

  /**
   * @param {Socket} source
   * @param {NodeJS.WritableStream} target
   * @param {string} endMark begins with a NUL, which is nowhere else in it
   */
  constructor(source, target, endMark) {
    this.#source = source;
    this.#target = target;
    this.#mark = Buffer.from(endMark);
    source.on("data", (chunk) => this.#take(chunk));
  }

  /** @param {Buffer} chunk */
  #take(chunk) {
    const data = Buffer.concat([this.#held, chunk]);
    const end = data.indexOf(this.#mark);
    if (end >= 0) {
      this.#held = Buffer.alloc(0);
      this.#write(data.subarray(0, end));
      this.#finish();
      return;
    }
    // Nearly all output is passed on at once: only what may be the beginning of the mark waits for the next chunk.
    const last = data.lastIndexOf(0);
    const maybe = last >= 0 && this.#mark.subarray(0, data.length - last).equals(data.subarray(last));
    const split = maybe ? last : data.length;
    this.#held = data.subarray(split);
    this.#write(data.subarray(0, split));
  }

  /** @param {Buffer} data */
  #write(data) {
    if (data.length === 0) return;
    // A slow reader slows the machine down, through QEMU's socket, instead of filling this process's memory.
    if (!this.#target.write(data)) {
      this.#source.pause();
      this.#target.once("drain", () => this.#source.resume());
    }
  }
}
