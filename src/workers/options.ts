/** Options of a pool of worker processes, checked, completed, and divided among the processes. */
import type { Image } from "../image/image.ts";
import {
  type CheckedPoolOptions,
  checkPoolOptions,
  type PoolImage,
  type PoolOptions,
} from "../pool/options.ts";
import { invalid, wholeNumber } from "../vm/option-checks.ts";
import type { BootOptions } from "../vm/options.ts";

export interface WorkerPoolOptions extends PoolOptions {
  /** Worker processes. Default: as many as `max` needs with 250 VMs in each. At most `max`. */
  readonly processes?: number;
  /**
   * URL (`file:`) of an ES module that each worker loads for what cannot be sent to it, host functions above all. Its default export is an object of boot
   * options, or a function that takes the image's name in the pool and returns one. What `vm` says comes before it.
   */
  readonly hostModule?: string | URL;
  /** Environment variables of the workers, which inherit none. Default: none. */
  readonly env?: Readonly<Record<string, string>>;
  /** A worker that has something to do and does not answer for so long is asked, and killed if it does not answer in the same time; milliseconds. Default 10,000. */
  readonly unresponsiveMs?: number;
}

/** What one process gets of the whole. */
export interface Share {
  readonly max: number;
  /** Of each image, in the order of the options. */
  readonly mins: readonly number[];
  /** Infinity: none. */
  readonly memoryBudgetBytes: number;
}

export interface CheckedWorkerPoolOptions {
  readonly pool: CheckedPoolOptions;
  readonly shares: readonly Share[];
  readonly hostModule: string | null;
  readonly env: Readonly<Record<string, string>>;
  readonly unresponsiveMs: number;
}

/** ARCHITECTURE.md, "Many VMs", has the measurements behind it. */
export const VMS_PER_PROCESS = 250;
const MAX_PROCESSES = 1000;

/** @throws BARECELL_ARGUMENT_INVALID */
export function checkWorkerPoolOptions(
  images: Image | Readonly<Record<string, Image | PoolImage>>,
  options: WorkerPoolOptions,
): CheckedWorkerPoolOptions {
  const pool = checkPoolOptions(images, options);
  for (const { name, vm } of pool.images)
    requireSendable(vm, pool.images.length > 1 ? `vm of '${name}'` : "vm");
  const processes = wholeNumber(
    "processes",
    options.processes ?? Math.ceil(pool.max / VMS_PER_PROCESS),
    1,
    Math.min(MAX_PROCESSES, pool.max),
  );
  const shares = divide(pool, processes);
  for (const share of shares) requireRoom(pool, share, processes);
  return {
    pool,
    shares,
    hostModule: moduleUrl(options.hostModule),
    env: environment(options.env ?? {}),
    unresponsiveMs: wholeNumber("unresponsiveMs", options.unresponsiveMs ?? 10_000, 10, 2 ** 31 - 1),
  };
}

/** Evenly. What does not divide goes to the first ones, `min` of each image where that of the last one ended, so that no process has more of them than VMs. */
function divide(pool: CheckedPoolOptions, processes: number): Share[] {
  const part = (of: number, place: number): number =>
    Math.floor(of / processes) + (place < of % processes ? 1 : 0);
  const first = pool.images.map((_, image) =>
    pool.images.slice(0, image).reduce((sum, { min }) => sum + min, 0),
  );
  return Array.from({ length: processes }, (_, place) => {
    const max = part(pool.max, place);
    return {
      max,
      mins: pool.images.map(({ min }, image) =>
        part(min, (place + processes - ((first[image] as number) % processes)) % processes),
      ),
      memoryBudgetBytes:
        pool.memoryBudgetBytes === Number.POSITIVE_INFINITY
          ? pool.memoryBudgetBytes
          : Math.floor((pool.memoryBudgetBytes / pool.max) * max),
    };
  });
}

function requireRoom(
  { images, memoryBudgetBytes }: CheckedPoolOptions,
  share: Share,
  processes: number,
): void {
  const kept = images.reduce((sum, { mostBytes }, i) => sum + mostBytes * (share.mins[i] as number), 0);
  const largest = Math.max(...images.map(({ mostBytes }) => mostBytes));
  if (Math.max(kept, largest) <= share.memoryBudgetBytes) return;
  throw invalid(
    `memoryBudgetBytes of ${memoryBudgetBytes} leaves ${share.memoryBudgetBytes} for each of ${processes} processes, and an image's VMs there may come to ${Math.max(kept, largest)}; raise it, or lower vm.maxMemoryBytes, min or processes`,
  );
}

/** Boot options go to another process as plain data. */
function requireSendable(vm: BootOptions, where: string): void {
  const cure = "; give it in the module that hostModule names, which each worker loads";
  const look = (value: unknown, path: string): void => {
    if (value instanceof Uint8Array) return;
    if (typeof value === "function")
      throw invalid(`${path} is a function, which cannot go to a worker process${cure}`);
    if (typeof value === "symbol") throw invalid(`${path} is a symbol, which cannot go to a worker process`);
    if (typeof value !== "object" || value === null) return;
    const prototype: unknown = Object.getPrototypeOf(value);
    if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null)
      throw invalid(`${path} is an object with a class, which cannot go to a worker process${cure}`);
    for (const [key, inner] of Object.entries(value)) look(inner, `${path}.${key}`);
  };
  look(vm, where);
  for (const stream of ["stdin", "stdout", "stderr"] as const) {
    const target: unknown = vm.wasi?.[stream];
    if (typeof target === "object" && target !== null && "fd" in target)
      throw invalid(
        `${where}.wasi.${stream} is a descriptor of this process, which a worker process does not have${cure}`,
      );
  }
  if (vm.wasi?.sockets !== undefined && vm.wasi.sockets.length > 0)
    throw invalid(
      `${where}.wasi.sockets are descriptors of this process, which a worker process does not have${cure}`,
    );
}

function moduleUrl(given: string | URL | undefined): string | null {
  if (given === undefined) return null;
  const url = given instanceof URL ? given.href : given;
  if (typeof url === "string" && url.startsWith("file:") && URL.canParse(url)) return url;
  throw invalid(
    `hostModule must be a file: URL, as new URL("./host.js", import.meta.url), not ${typeof url === "string" ? `'${url}'` : typeof url}`,
  );
}

function environment(env: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (typeof env !== "object" || env === null) throw invalid("env must be an object of strings");
  for (const [name, value] of Object.entries(env)) {
    if (typeof value !== "string") throw invalid(`env.${name} must be a string, not ${typeof value}`);
  }
  return { ...env };
}
