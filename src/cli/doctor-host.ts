/** The machine that `barecell doctor` runs on. */
import { accessSync, constants, readFileSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { defaultCacheFolder } from "../compiler/cache.ts";
import { compile } from "../compiler/compile.ts";
import { compilerVersion, findCCompiler, findSimde } from "../compiler/toolchain.ts";
import { BarecellError, systemErrorCode } from "../errors.ts";
import { addon, fromNative } from "../vm/addon.ts";
import { MicroVM } from "../vm/micro-vm.ts";
import type { DoctorHost } from "./doctor-checks.ts";

/** `(module (func (export "f")))` */
const SMALLEST = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 4, 1, 0x60, 0, 0],
  ...[3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0],
  ...[10, 4, 1, 2, 0, 0x0b],
]);
const TRIALS = 5;

/** The real one. */
export const realHost: DoctorHost = {
  platform: process.platform,
  arch: process.arch,
  readText(path) {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  },
  access(path) {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return "ok";
    } catch (error) {
      const code = systemErrorCode(error);
      return code === "ENOENT" || code === "ENOTDIR" ? "missing" : "denied";
    }
  },
  cacheFolder: defaultCacheFolder(),
  freeBytes(folder) {
    // The folder is made when it is first needed; what counts is the one that exists.
    for (let place = folder; ; place = dirname(place)) {
      try {
        accessSync(place, constants.W_OK | constants.X_OK);
      } catch (error) {
        if (systemErrorCode(error) === "ENOENT" && place !== dirname(place)) continue;
        throw error;
      }
      const { bavail, bsize } = statfsSync(place);
      return bavail * bsize;
    }
  },
  probe() {
    try {
      return addon().probe();
    } catch (error) {
      throw fromNative(error);
    }
  },
  async compiler() {
    const found = findCCompiler();
    return { path: found.path, version: await compilerVersion(found) };
  },
  simde: findSimde,
  async trialBoots() {
    // Without the cache: a look at the machine leaves nothing on it.
    const image = await compile(SMALLEST, { name: "doctor", cache: false });
    const times: number[] = [];
    for (let i = 0; i < TRIALS; i++) {
      const vm = await MicroVM.boot(image);
      try {
        await vm.call("f");
        const step = vm.timeline.steps.find(({ name }) => name === "create VM");
        if (step === undefined)
          throw new BarecellError("BARECELL_INTERNAL", "the timeline has no step 'create VM'");
        times.push(step.durationUs);
      } finally {
        vm.dispose();
      }
    }
    return times;
  },
};
