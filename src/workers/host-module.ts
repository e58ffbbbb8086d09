/** Host functions cannot go to another process, so each worker loads the module that has them. */
import { BarecellError, errorText } from "../errors.ts";
import type { BootOptions } from "../vm/options.ts";

/** What a host module's default export is: boot options (`imports` above all), or a function that gives them for an image by its name in the pool. */
export type HostModule = BootOptions | ((image: string) => BootOptions | Promise<BootOptions>);

/** @throws BARECELL_HOST_MODULE_FAILED */
export async function loadHostModule(url: string): Promise<HostModule> {
  let loaded: { readonly default?: unknown };
  try {
    loaded = await import(url);
  } catch (cause) {
    throw new BarecellError("BARECELL_HOST_MODULE_FAILED", `cannot load ${url}: ${errorText(cause)}`, {
      cause,
    });
  }
  const found = loaded.default;
  if (typeof found === "function" || (typeof found === "object" && found !== null))
    return found as HostModule;
  throw new BarecellError(
    "BARECELL_HOST_MODULE_FAILED",
    `${url} has no default export that is an object of boot options, or a function that gives one`,
  );
}

/** @throws BARECELL_HOST_MODULE_FAILED */
export async function bootOptionsOf(hostModule: HostModule | undefined, image: string): Promise<BootOptions> {
  if (hostModule === undefined) return {};
  if (typeof hostModule !== "function") return hostModule;
  let options: BootOptions;
  try {
    options = await hostModule(image);
  } catch (cause) {
    throw new BarecellError(
      "BARECELL_HOST_MODULE_FAILED",
      `the default export of the host module threw for the image '${image}': ${errorText(cause)}`,
      { cause },
    );
  }
  if (typeof options === "object" && options !== null) return options;
  throw new BarecellError(
    "BARECELL_HOST_MODULE_FAILED",
    `the default export of the host module gave no boot options for the image '${image}'`,
  );
}
