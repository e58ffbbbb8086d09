/** Runs a module's own initialisation once, so that no boot has to do it again. */
import type { Image } from "../image/image.ts";
import { MicroVM } from "./micro-vm.ts";
import type { BootOptions } from "./options.ts";

/**
 * Boots an image, calls an export without arguments and takes a snapshot. A reactor of WASI is initialised first: if the image exports `_initialize`, that
 * runs before the export.
 * @param options what the export may use; by default WASI with nothing in it, and other imports trap when they are called
 * @throws as `MicroVM.boot`, `call` and `snapshot`
 */
export async function preinitialise(image: Image, name: string, options: BootOptions = {}): Promise<Image> {
  await using vm = await MicroVM.boot(image, { wasi: {}, unknownImports: "trap", ...options });
  if (name !== "_initialize" && vm.modules.at(-1)?.needsInitialize) await vm.call("_initialize");
  await vm.call(name);
  return await vm.snapshot();
}
