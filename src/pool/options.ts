/** Options of a pool, checked and completed. */
import { BC_LINEAR_MAX_BYTES } from "../abi.ts";
import { Image } from "../image/image.ts";
import { invalid, wholeNumber } from "../vm/option-checks.ts";
import type { BootOptions } from "../vm/options.ts";

/** Of one image of a pool. */
export interface PoolImageOptions {
  /** VMs that are made ahead and kept, whether they are used or not. Default 1. */
  readonly min?: number;
  /** How its VMs are booted, and their limits. Default: in ring 3 at once (`boot: "direct"`). */
  readonly vm?: BootOptions;
}

export interface PoolOptions extends PoolImageOptions {
  /** VMs at most, all images together, whatever they do. Default 8. */
  readonly max?: number;
  /** A VM beyond `min` that nobody used for so long is disposed, milliseconds; Infinity for never. Default 60,000. */
  readonly idleMs?: number;
  /** Calls that may wait for a VM, all images together; one more is BARECELL_POOL_FULL. Default 1,000. */
  readonly queueLimit?: number;
  /** How long a call may wait for a VM, milliseconds, which are not its `timeoutMs`; Infinity for no limit. Default 10,000. */
  readonly queueTimeoutMs?: number;
  /** Linear memory that all VMs together could come to, each counted with the most that it may grow to, bytes. Default: no limit. */
  readonly memoryBudgetBytes?: number;
}

export interface PoolImage extends PoolImageOptions {
  readonly image: Image;
}

export interface CheckedPoolImage {
  readonly name: string;
  readonly image: Image;
  readonly min: number;
  readonly vm: BootOptions;
  /** What a VM of it may come to. */
  readonly mostBytes: number;
}

export interface CheckedPoolOptions {
  readonly images: readonly CheckedPoolImage[];
  readonly max: number;
  readonly idleMs: number;
  readonly queueLimit: number;
  readonly queueTimeoutMs: number;
  readonly memoryBudgetBytes: number;
}

const DEFAULT_MEMORY_BYTES = 256 * 2 ** 20;

/** @throws BARECELL_ARGUMENT_INVALID */
export function checkPoolOptions(
  images: Image | Readonly<Record<string, Image | PoolImage>>,
  options: PoolOptions,
): CheckedPoolOptions {
  if (typeof options !== "object" || options === null)
    throw invalid("the options of a pool must be an object");
  const named = images instanceof Image ? { [images.name]: images } : images;
  if (typeof named !== "object" || named === null || Object.keys(named).length === 0) {
    throw invalid("a pool takes an Image, or an object of images by name");
  }
  const checked = Object.entries(named).map(([name, given]) => checkImage(name, given, options));
  const max = wholeNumber("max", options.max ?? 8, 1, 100_000);
  const least = checked.reduce((sum, { min }) => sum + min, 0);
  if (least > max) throw invalid(`the images' min come to ${least} VMs, and max is ${max}`);
  const memoryBudgetBytes =
    options.memoryBudgetBytes === undefined
      ? Number.POSITIVE_INFINITY
      : wholeNumber("memoryBudgetBytes", options.memoryBudgetBytes, 0, 2 ** 50);
  const reserved = checked.reduce((sum, { min, mostBytes }) => sum + Math.max(1, min) * mostBytes, 0);
  const largest = Math.max(...checked.map(({ mostBytes }) => mostBytes));
  const kept = checked.reduce((sum, { min, mostBytes }) => sum + min * mostBytes, 0);
  if (Math.max(kept, largest) > memoryBudgetBytes) {
    throw invalid(
      `memoryBudgetBytes is ${memoryBudgetBytes}, and the images' VMs may come to ${reserved}; lower their vm.maxMemoryBytes or min`,
    );
  }
  return {
    images: checked,
    max,
    idleMs: milliseconds("idleMs", options.idleMs ?? 60_000),
    queueLimit: wholeNumber("queueLimit", options.queueLimit ?? 1000, 0, 10_000_000),
    queueTimeoutMs: milliseconds("queueTimeoutMs", options.queueTimeoutMs ?? 10_000),
    memoryBudgetBytes,
  };
}

function checkImage(name: string, given: Image | PoolImage, all: PoolOptions): CheckedPoolImage {
  const own: PoolImage = given instanceof Image ? { image: given } : given;
  if (typeof own !== "object" || own === null || !(own.image instanceof Image)) {
    throw invalid(`'${name}' must be an Image, or an object with one`);
  }
  const vm: BootOptions = { boot: "direct", ...all.vm, ...own.vm };
  const memories = own.image.manifest.memories;
  const declared = memories.reduce((sum, { maxBytes }) => sum + (maxBytes ?? BC_LINEAR_MAX_BYTES), 0);
  return {
    name,
    image: own.image,
    min: wholeNumber(`min of '${name}'`, own.min ?? all.min ?? 1, 0, 100_000),
    vm,
    mostBytes: Math.min(declared, vm.maxMemoryBytes ?? DEFAULT_MEMORY_BYTES),
  };
}

function milliseconds(name: string, value: number): number {
  if (typeof value === "number" && value >= 0) return value;
  throw invalid(`${name} must be a number of milliseconds that is not negative, not ${String(value)}`);
}
