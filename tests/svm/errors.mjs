// What can go wrong before the command runs, told apart from what goes wrong inside it.

/** Exit statuses of run.mjs itself; every other status is the command's own. */
export const EXIT = Object.freeze({
  /** Wrong usage of run.mjs. */
  usage: 2,
  /** The machine cannot be started here: something is missing, and the message names the cure. */
  cannotRun: 3,
  /** The deadline passed. The same number as timeout(1). */
  deadline: 124,
  /** The machine died (kernel panic, QEMU killed) after the command had begun. */
  machineLost: 125,
});

/** The environment lacks something. Carries the cure, so that the message is never a dead end. */
export class CannotRunError extends Error {
  /**
   * @param {string} problem what is missing or failed, one sentence
   * @param {string} [cure] what the reader can do about it
   * @param {ErrorOptions} [options]
   */
  constructor(problem, cure, options) {
    super(cure === undefined ? problem : `${problem}\n  cure: ${cure}`, options);
    this.name = "CannotRunError";
  }
}

/** Wrong command line of run.mjs. */
export class UsageError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "UsageError";
  }
}
