/** Keeps a loop over promises from holding up the event loop. */

/** Long enough that the turns cost nothing, short enough that nobody notices. */
const LONGEST_MS = 4;

/**
 * A loop that awaits promises which are settled already never lets timers and sockets have their turn. `rest()` does, now and then.
 */
export class Turn {
  #began = performance.now();

  rest(): Promise<void> | undefined {
    if (performance.now() - this.#began < LONGEST_MS) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#began = performance.now();
        resolve();
      });
    });
  }
}
