/** Takes a VM's state for an image. */
import { BC_IMAGE_BASE } from "../abi.ts";
import { BarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import type { Manifest } from "../image/manifest.ts";
import { type ImageState, imageWithState } from "../image/snapshot.ts";
import type { NativeVm } from "./addon.ts";
import type { Execution } from "./execution.ts";
import type { ModuleInstance } from "./module-instance.ts";
import type { References } from "./references.ts";

/** @throws BARECELL_SNAPSHOT_REFUSED, and what the VM's state forbids */
export function takeSnapshot(
  execution: Execution,
  modules: readonly ModuleInstance[],
  references: References,
): Image {
  execution.requireReady();
  const { image, native } = execution;
  const half = modules.find((module) => module.isHalfInstantiated);
  if (half) throw refused(`the module '${half.name}' is instantiated only in part`);
  if (references.holdsValues) {
    throw refused("the guest was given values of JavaScript (externref), which it may still hold");
  }
  const { obstacle, monotonicNs } = native.prepareSnapshot();
  if (obstacle !== "") throw refused(obstacle);
  const manifest: Manifest = {
    ...image.manifest,
    modules: image.manifest.modules.map((module, i) =>
      modules[i]?.isInstantiated ? { ...module, instantiateEntry: null } : module,
    ),
    memories: image.manifest.memories.map((memory, i) => ({ ...memory, minBytes: native.linearBytes(i) })),
    snapshot: {
      monotonicNs,
      initialized: modules.flatMap((module, i) =>
        module.exports.some(({ name }) => name === "_initialize") && !module.needsInitialize ? [i] : [],
      ),
    },
  };
  return imageWithState(image, stateOf(image, native, manifest));
}

function stateOf(image: Image, native: NativeVm, manifest: Manifest): ImageState {
  const { mailbox, mailboxBytes } = image.layout.header;
  return {
    manifest,
    data: ({ physical, memoryBytes }) => {
      const bytes = native.readPhysical(physical, memoryBytes);
      // Nobody's state: arguments and results of the last call, the seed of random numbers.
      const at = mailbox - BC_IMAGE_BASE - physical;
      if (at >= 0 && at < bytes.length) bytes.fill(0, at, at + mailboxBytes);
      return bytes;
    },
    linear: (memory, offset, length) => native.readLinear(memory, offset, length) ?? new Uint8Array(length),
  };
}

function refused(reason: string): BarecellError {
  return new BarecellError("BARECELL_SNAPSHOT_REFUSED", `there can be no snapshot: ${reason}`);
}
