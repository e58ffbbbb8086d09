/** The function as a part of the process: no wall at all, and so the least that anything can cost. */
import { type Peer, type Prepared, type Program, Unavailable } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { optionalPackage, packageVersionOf } from "./support/optional-package.ts";

interface Ffi {
  Library(
    path: string,
    functions: Record<string, readonly [string, readonly string[]]>,
  ): Record<string, (...values: unknown[]) => number>;
}

const INSTALL = "npm install ffi-napi@npm:@2060.io/ffi-napi";
const OUTPUT_CAPACITY = 16384;

async function prepare(program: Program): Promise<Prepared> {
  const ffi = await optionalPackage<Ffi>("ffi-napi", INSTALL);
  if (program.libraryPath === null) throw new Error(program.nativeProblem ?? "no library");
  const { n, input, libraryPath } = program;
  const library = ffi.Library(libraryPath, {
    kernel_run: ["uint32", ["uint32"]],
    ...(input === null
      ? {}
      : { kernel_exchange: ["uint32", ["uint32", "pointer", "uint32", "pointer", "uint32"]] as const }),
  });
  const run = library["kernel_run"];
  const exchange = library["kernel_exchange"];
  const output = Buffer.alloc(OUTPUT_CAPACITY);
  const source = input === null ? null : Buffer.from(input);
  const call = (): number =>
    source === null ? (run?.(n) ?? 0) : (exchange?.(n, source, source.length, output, output.length) ?? 0);
  return {
    async request() {
      const begin = nowUs();
      const result = call();
      const resultUs = nowUs() - begin;
      // A copy: the next request writes over it.
      const copy = input === null ? null : Uint8Array.from(output.subarray(0, result));
      return { readyUs: 0, resultUs, endUs: resultUs, result, output: copy };
    },
    async loop(forMs) {
      const begin = nowUs();
      let requests = 0;
      while (nowUs() - begin < forMs * 1000) {
        call();
        requests++;
      }
      return { requests, elapsedUs: nowUs() - begin };
    },
    async dispose() {},
  };
}

export const peer: Peer = {
  name: "native-call",
  title: "native call in the process (ffi-napi)",
  order: 0,
  wall: "none",
  includes: "a call of the function in a shared library through libffi",
  leavesOut:
    "any protection. The function's static data are shared by all requests; memory that one touched stays touched for the next",
  async available({ launcherPath }) {
    await optionalPackage<Ffi>("ffi-napi", INSTALL);
    if (launcherPath === null) throw new Unavailable("no C compiler was found", "apt-get install gcc");
    return { version: `ffi-napi ${packageVersionOf("ffi-napi")}`.trim() };
  },
  unsuited: ({ libraryPath, nativeProblem }) => (libraryPath === null ? nativeProblem : null),
  prepare,
};
