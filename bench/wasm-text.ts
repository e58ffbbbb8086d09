/** WebAssembly modules as text and back, for changes that would move the numbers of everything: names stay. */

/** The part of the package wabt that is used. */
interface Wabt {
  readWasm(bytes: Uint8Array, options: { readDebugNames: boolean }): WabtModule;
  parseWat(name: string, text: string): WabtModule;
}
interface WabtModule {
  generateNames(): void;
  applyNames(): void;
  toText(options: { foldExprs: boolean; inlineExport: boolean }): string;
  toBinary(options: object): { readonly buffer: Uint8Array };
  destroy(): void;
}

/**
 * A module with another text. What is exported or imported has its name there: `$run`, `$env.clock`.
 * @param change gets the text, with everything named, and returns the new one
 * @throws Error if either is no module
 */
export async function rewriteModule(
  bytes: Uint8Array,
  change: (text: string) => string,
): Promise<Uint8Array> {
  const { default: load } = (await import("wabt")) as unknown as { default: () => Promise<Wabt> };
  const wabt = await load();
  // Its own copy: the package takes the whole buffer that a view is of, and Node shares one among small files.
  const original = wabt.readWasm(Uint8Array.from(bytes), { readDebugNames: false });
  try {
    original.generateNames();
    original.applyNames();
    const changed = wabt.parseWat(
      "changed.wat",
      change(original.toText({ foldExprs: false, inlineExport: false })),
    );
    try {
      return changed.toBinary({}).buffer;
    } finally {
      changed.destroy();
    }
  } finally {
    original.destroy();
  }
}
