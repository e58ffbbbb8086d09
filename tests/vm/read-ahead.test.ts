/** Files that the host reads ahead for the guest: fewer exits, and nobody can tell otherwise. */
import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { BootOptions, Image, MicroVM } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { type FileStep, fileImage, loadFileScript, runFileScript } from "../support/file-script.ts";
import { withVm } from "../support/modules.ts";
import { occurrences, WholeVm } from "../support/whole-vm.ts";

const EBADF = 8;
const ENOTCAPABLE = 76;

let image: Image;
beforeAll(async () => {
  image = await fileImage();
});
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "barecell-input-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** No two places look alike. */
const contents = (bytes: number): string =>
  Array.from({ length: Math.ceil(bytes / 8) }, (_, i) => `${i}`.padStart(7, "-").concat("\n"))
    .join("")
    .slice(0, bytes);
const path = (): string => join(folder, "f");
const inFolder = (text: string, options: BootOptions = {}): BootOptions => {
  writeFileSync(path(), text);
  return { ...options, wasi: { preopens: { "/": { host: folder, writable: true } } } };
};
const times = (count: number, step: FileStep): FileStep[] => Array.from({ length: count }, () => step);
const counts = ({ results }: { results: readonly { count: number }[] }): number[] =>
  results.map(({ count }) => count);

describe("exits", () => {
  it("small reads of a file cost few, and get what is in it", () => {
    const text = contents(200_000);
    return withVm(image, inFolder(text), async (vm) => {
      const run = await runFileScript(vm, ["open"], ...times(250, ["read", 4, 1000]));
      expect(run.read).toBe(text);
      // 50 reads find nothing any more, and each asks: a file of the host's may have grown.
      expect(run.exits).toBeLessThan(1 + 50 + 20);
      expect(counts(run).slice(-51)).toEqual([1000, ...Array(50).fill(0)]);
    });
  });
  it.each([1, 3, 4096, 5000, 30_000])("reads of %d bytes", (bytes) => {
    const text = contents(60_000);
    return withVm(image, inFolder(text), async (vm) => {
      const steps = times(Math.min(600, Math.ceil(60_000 / bytes)), ["read", 4, bytes]);
      const run = await runFileScript(vm, ["open"], ...steps);
      expect(run.read).toBe(text.slice(0, steps.length * bytes));
      expect(run.exits).toBeLessThan(bytes < 10_000 ? 12 : 4);
    });
  });
  it("reads into several buffers", () => {
    const text = contents(20_000);
    return withVm(image, inFolder(text), async (vm) => {
      const run = await runFileScript(vm, ["open"], ...times(100, ["readTwo", 4, 77, 123]));
      expect(run.read).toBe(text);
      expect(run.exits).toBeLessThan(12);
    });
  });
  it("of standard input that is in memory also its end costs none", () =>
    withVm(image, { wasi: { stdin: contents(500) } }, async (vm) => {
      const run = await runFileScript(vm, ...times(20, ["read", 0, 1000]));
      expect(run.read).toBe(contents(500));
      expect(counts(run)).toEqual([500, ...Array(19).fill(0)]);
      expect(run.exits).toBe(1);
    }));
  it("a bundle's files too", async () => {
    const bundled = await fileImage(undefined, { bundle: { "/": { f: contents(30_000) } } });
    await withVm(bundled, { wasi: {} }, async (vm) => {
      const run = await runFileScript(vm, ["open", 0, 1], ...times(70, ["read", 4, 500]));
      expect(run.results[0]?.errno).toBe(0);
      expect(run.read).toBe(contents(30_000));
      expect(run.exits).toBeLessThan(8);
    });
  });
  it("each costs one where answers in the guest are off", () =>
    withVm(image, inFolder(contents(5000), { answersInGuest: false }), async (vm) => {
      expect((await runFileScript(vm, ["open"], ...times(40, ["read", 4, 100]))).exits).toBe(41);
    }));
  it("the draft's fd_read is the same", async () =>
    withVm(await fileImage("wasi_unstable"), inFolder(contents(5000)), async (vm) => {
      const run = await runFileScript(vm, ["open"], ...times(40, ["read", 4, 100]));
      expect([run.read, run.exits < 8]).toEqual([contents(4000), true]);
    }));
  it("reads that cost none are no host calls for the limit", () =>
    withVm(image, inFolder(contents(5000), { maxHostCalls: 8 }), async (vm) => {
      expect((await runFileScript(vm, ["open"], ...times(40, ["read", 4, 100]))).read).toBe(contents(4000));
    }));
});

describe("a file is where it would be had each read left the VM", () => {
  it("for the next call", () =>
    withVm(image, inFolder(contents(50_000)), async (vm) => {
      await runFileScript(vm, ["open"], ...times(3, ["read", 4, 100]));
      expect((await runFileScript(vm, ["seek", 4, 0, 1])).results).toEqual([{ errno: 0, count: 300 }]);
      const more = await runFileScript(vm, ...times(3, ["read", 4, 100]), ["seek", 4, 0, 1]);
      expect(more.read).toBe(contents(600).slice(300));
      expect(counts(more).at(-1)).toBe(600);
    }));
  it("for whoever shares standard input with the guest", () =>
    withVm(image, inFolder(contents(9000)), async () => {
      const fd = openSync(path(), "r");
      try {
        await withVm(image, { wasi: { stdin: { fd } } }, async (vm) => {
          const run = await runFileScript(vm, ...times(5, ["read", 0, 100]));
          expect([run.read, run.exits]).toEqual([contents(500), 5]);
        });
        const rest = Buffer.alloc(100);
        readSync(fd, rest, 0, 100, null);
        expect(rest.toString()).toBe(contents(600).slice(500));
      } finally {
        closeSync(fd);
      }
    }));
  it("without the right to read, closed, or as another number", () =>
    withVm(image, inFolder(contents(9000)), async (vm) => {
      const run = await runFileScript(
        vm,
        ...times(2, ["open"]),
        ...times(3, ["read", 4, 100]),
        ["renumber", 4, 5],
        ...times(3, ["read", 5, 100]),
        ["read", 4, 100],
        ["setRights", 5, 1 << 2],
        ["read", 5, 100],
        ["close", 5],
        ["read", 5, 100],
      );
      expect(run.read).toBe(contents(600));
      expect(run.results.slice(9).map(({ errno }) => errno)).toEqual([EBADF, 0, ENOTCAPABLE, 0, EBADF]);
    }));
});

describe("what others write is seen", () => {
  it("by the next call, at the end and in the middle", () =>
    withVm(image, inFolder(contents(3000)), async (vm) => {
      const end = await runFileScript(vm, ["open"], ...times(4, ["read", 4, 1000]));
      expect(counts(end).slice(1)).toEqual([1000, 1000, 1000, 0]);
      appendFileSync(path(), "and more");
      expect((await runFileScript(vm, ["read", 4, 1000])).read).toBe("and more");
      await runFileScript(vm, ["seek", 4, 0, 0], ...times(2, ["read", 4, 100]));
      writeFileSync(path(), "x".repeat(3000));
      expect((await runFileScript(vm, ["read", 4, 100])).read).toBe("x".repeat(100));
    }));
  it("some milliseconds later within a call", () =>
    withVm(image, inFolder(contents(9000)), async (vm) => {
      const spins = times(4 * slowness, ["spin", 300_000_000]);
      const done = runFileScript(vm, ["open"], ...times(2, ["read", 4, 100]), ...spins, ["read", 4, 100]);
      await sleep(100);
      writeFileSync(path(), "x".repeat(9000));
      expect((await done).read).toBe(contents(200) + "x".repeat(100));
    }));
  it("at once, if the guest itself writes", () =>
    withVm(image, inFolder(contents(9000)), async (vm) => {
      const run = await runFileScript(
        vm,
        ...times(2, ["open"]),
        ...times(2, ["read", 4, 100]),
        ["seek", 5, 200, 0],
        ["write", 5, 16],
        ["read", 4, 16],
      );
      expect(run.read).toBe(`${contents(200)}abcdefghijklmnop`);
    }));
});

/** SplitMix32 */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x9e3779b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) % below;
  };
}

function randomSteps(seed: number): FileStep[] {
  const random = generator(seed);
  const fd = (): number => [0, 4, 4, 4, 5, 6][random(6)] as number;
  const steps: FileStep[] = [["open"], ["open"]];
  while (steps.length < 300) {
    const kind = random(40);
    const file = fd();
    if (kind < 18) for (let i = random(8); i >= 0; i--) steps.push(["read", file, random(1500)]);
    else if (kind < 24) steps.push(["readTwo", file, random(300), random(3000)]);
    else if (kind < 29) steps.push(["seek", file, random(20_000) - 200, random(4)]);
    else if (kind < 32) steps.push(["write", file, random(2000)]);
    else if (kind < 34) steps.push(["pread", file, random(500), random(20_000)]);
    else if (kind < 35) steps.push(["open"]);
    else if (kind < 36) steps.push(["close", 5 + random(2)]);
    else if (kind < 37) steps.push(["renumber", 4 + random(3), 4 + random(3)]);
    else if (kind < 38) steps.push(["yield"]);
    else steps.push(["spin", 1 + random(100_000)]);
  }
  return steps.slice(0, 300);
}

describe("the same results as without, whatever a guest does", () => {
  const stdin = contents(12_000);
  it.each(Array.from({ length: 12 }, (_, i) => i))("files of the host, seed %d", async (seed) => {
    const observed = async (answersInGuest: boolean): Promise<unknown> => {
      const options = inFolder(contents(15_000), { answersInGuest });
      return withVm(image, { ...options, wasi: { ...options.wasi, stdin } }, async (vm) => {
        const { results, read } = await runFileScript(vm, ...randomSteps(seed));
        return [results, read, readFileSync(path(), "latin1")];
      });
    };
    expect(await observed(true)).toEqual(await observed(false));
  });
  it.each(Array.from({ length: 12 }, (_, i) => 100 + i))("files in memory, seed %d", async (seed) => {
    const create = (vm: MicroVM): Promise<unknown> =>
      runFileScript(vm, ["open", 1], ...times(8, ["write", 4, 2000]), ["close", 4]);
    const wasi = { preopens: { "/": { memoryBytes: 2 ** 20 } }, stdin };
    const observed = (answersInGuest: boolean): Promise<unknown> =>
      withVm(image, { answersInGuest, wasi }, async (vm) => {
        await create(vm);
        const { results, read } = await runFileScript(vm, ...randomSteps(seed));
        return [results, read];
      });
    expect(await observed(true)).toEqual(await observed(false));
  });
});

it("what was given is in memory only where the guest read it to, and nowhere after a reset", () => {
  const [asked, secret] = ["what it asked for", "what nobody asked for"];
  // Among the first 4 KiB behind the first read, which the host gives ahead.
  const text = `${"-".repeat(1500)}${asked}${"-".repeat(2583)}${secret}${"-".repeat(9000)}`;
  const vm = new WholeVm(image, inFolder(text));
  try {
    const steps: FileStep[] = [["open"], ...times(3, ["read", 4, 1000])];
    const memory = { write: (at: number, bytes: Uint8Array) => void vm.native.writeLinear(0, at, bytes) };
    const places = (what: string): number => occurrences(vm.memory(), Buffer.from(what)).length;
    const script = loadFileScript(memory, steps).map(BigInt);
    expect(vm.call("run", script)).toBe(3000n);
    expect([places(asked), places(secret)]).toEqual([1, 0]);
    vm.reset();
    expect([places(asked), places(secret)]).toEqual([0, 0]);
  } finally {
    vm.dispose();
  }
});
