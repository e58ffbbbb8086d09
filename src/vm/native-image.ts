/** Hands an image to the addon, once, however many VMs it boots. */
import { BC_IMAGE_BASE, BC_LINEAR_MAX_BYTES } from "../abi.ts";
import { bundleBytes } from "../image/bundle.ts";
import type { Image } from "../image/image.ts";
import { checkProcessor } from "../image/target-cpu.ts";
import { addon, fromNative, type NativeImage } from "./addon.ts";

const handles = new WeakMap<Image, NativeImage>();

/** @throws BARECELL_IMAGE_CPU, BARECELL_ADDON_MISSING */
export function nativeImage(image: Image): NativeImage {
  return handles.get(image) ?? makeHandle(image, null);
}

/**
 * For an image that another process holds: VMs of both map the same pages. Before the image boots its first VM.
 * @param fd the `fd` of the other one's NativeImage, inherited; closed when this one goes
 * @throws BARECELL_IMAGE_INVALID if it is not this image's, or not sealed
 */
export function adoptImage(image: Image, fd: number): void {
  try {
    makeHandle(image, fd);
  } catch (error) {
    throw fromNative(error);
  }
}

/** The image's sealed memory file, to be passed on; it lives as long as the image. @throws as `nativeImage` */
export function imageFd(image: Image): number {
  try {
    return nativeImage(image).fd;
  } catch (error) {
    throw fromNative(error);
  }
}

function makeHandle(image: Image, sharedFd: number | null): NativeImage {
  checkProcessor(image.manifest.targetCpu);
  const { header, memories } = image.layout;
  const { manifest } = image;
  const segments = [...image.layout.segments].sort((a, b) => a.physical - b.physical);
  const bundle = bundleBytes(image.elf, image.bytes);
  const own = segments.filter((segment) => segment.purpose !== "linear memory");
  const handle = new (addon().Image)({
    bytes: image.bytes,
    segments: segments.map((segment) => ({
      gpa: segment.physical,
      fileOffset: segment.fileOffset,
      fileBytes: segment.fileBytes,
      memoryBytes: segment.memoryBytes,
      memory: segment.memory ?? null,
    })),
    bundleOffset: bundle.byteOffset - image.bytes.byteOffset,
    bundleBytes: bundle.length,
    bootEntry: header.bootEntry,
    callEntry: header.callEntry,
    syscallEntry: header.syscallEntry,
    mailboxGpa: header.mailbox - BC_IMAGE_BASE,
    mailboxBytes: header.mailboxBytes,
    exceptionStacksGpa: header.exceptionStacks - BC_IMAGE_BASE,
    bootPml4Gpa: header.bootPml4Gpa,
    runPml4Gpa: header.runPml4Gpa,
    idt: header.idt,
    tssLimit: header.tssLimit,
    stackBytes: header.stackBytes,
    stackGpa: own.find((segment) => segment.purpose === "stack")?.physical ?? 0,
    memories: manifest.memories.map((memory, i) => ({
      gpa: memories[i]?.physical ?? 0,
      initialBytes: memory.minBytes,
      maxBytes: memory.maxBytes ?? BC_LINEAR_MAX_BYTES,
    })),
    imageEndGpa: Math.max(...own.map((segment) => segment.physical + segment.memoryBytes)),
    importMemories: manifest.imports.map(({ importer }) => manifest.modules[importer]?.memory ?? null),
    needsAvx: image.manifest.targetCpu === "x86-64-v3",
    sharedFd,
  });
  handles.set(image, handle);
  return handle;
}
