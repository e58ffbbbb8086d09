// Getting Debian packages: downloaded as a rule, installed only where that is asked for.

import fs from "node:fs";
import path from "node:path";
import { CannotRunError } from "./errors.mjs";
import { lastLine, run, which } from "./tools.mjs";

// Another apt may hold the lock for a while (images update themselves at start): wait rather than fail.
const WAIT_FOR_LOCK = ["-o", "DPkg::Lock::Timeout=120"];

export class Apt {
  #log;
  #env;

  /**
   * @param {(line: string) => void} log
   * @param {NodeJS.ProcessEnv} env
   */
  constructor(log, env) {
    this.#log = log;
    this.#env = { ...env, DEBIAN_FRONTEND: "noninteractive" };
  }

  /**
   * Installs the package that brings a program.
   * @param {string} name of the package
   * @param {string} program
   * @returns {string} path of the program
   */
  install(name, program) {
    const command = ["install", "-y", "--no-install-recommends", name];
    const byHand = `as root: apt-get ${command.join(" ")} (or your distribution's package with ${program})`;
    if (which("apt-get", this.#env) === undefined) {
      throw new CannotRunError(`${program} is not installed, and there is no apt-get to get it`, byHand);
    }
    if (process.getuid?.() !== 0) {
      throw new CannotRunError(`${program} is not installed, and only root can install it`, byHand);
    }
    const result = this.#orAfterUpdate(() => {
      this.#log(`installing ${name} …`);
      return run("apt-get", [...WAIT_FOR_LOCK, ...command], this.#env);
    });
    const installed = which(program, this.#env);
    if (result.status !== 0 || installed === undefined) {
      const cure = `see to the network and the package sources, then ${byHand}`;
      throw new CannotRunError(`${name} could not be installed: ${lastLine(result)}`, cure);
    }
    return installed;
  }

  /**
   * Downloads a package's file.
   * @param {string} name of the package, or of a metapackage
   * @param {{ behind?: RegExp, folder: string, cure: string }} options `behind`: not the package itself, but
   *   the one of its dependencies whose name matches; a Debian kernel has its version in its name
   * @returns {string} path of the file
   */
  download(name, { behind, folder, cure }) {
    for (const tool of ["apt-get", "apt-cache"]) {
      if (which(tool, this.#env) === undefined) {
        throw new CannotRunError(`there is no ${tool} to fetch ${name} with`, cure);
      }
    }
    /** @type {string | undefined} */
    let wanted = name;
    const result = this.#orAfterUpdate(() => {
      // Looked up anew after an update: old package lists lead to an old kernel, which the mirror has no more.
      if (behind !== undefined) wanted = this.#dependency(name, behind);
      if (wanted === undefined) return undefined;
      this.#log(`downloading ${wanted} …`);
      return run("apt-get", ["download", wanted], this.#env, folder);
    });
    if (result === undefined) throw new CannotRunError(`apt knows no kernel behind ${name}`, cure);
    const file = fs.readdirSync(folder).find((entry) => entry.startsWith(`${wanted}_`));
    if (result.status !== 0 || file === undefined) {
      throw new CannotRunError(`${wanted} could not be downloaded: ${lastLine(result)}`, cure);
    }
    return path.join(folder, file);
  }

  /**
   * @param {string} name
   * @param {RegExp} pattern
   */
  #dependency(name, pattern) {
    const { stdout } = run("apt-cache", ["depends", "--important", name], this.#env);
    const names = [...stdout.matchAll(/^\s*\|?Depends: (\S+)$/gm)].map(([, dependency]) => dependency ?? "");
    return names.find((dependency) => pattern.test(dependency));
  }

  /**
   * Tries, and once more with fresh package lists: a new machine often has none, and in old ones the files of
   * packages that had a security update are wrong.
   * @template {import("node:child_process").SpawnSyncReturns<string> | undefined} Result
   * @param {() => Result} attempt
   */
  #orAfterUpdate(attempt) {
    const first = attempt();
    // Without root the lists cannot be updated; the caller's message then says so.
    if (first?.status === 0 || process.getuid?.() !== 0) return first;
    this.#log("updating apt's package lists …");
    run("apt-get", [...WAIT_FOR_LOCK, "update"], this.#env);
    return attempt();
  }
}
