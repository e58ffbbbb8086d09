/** What the modules of WASI preview 1 are called; the second is its draft, of which many functions are the same. The addon goes by their order. */
export const WASI_MODULES: ReadonlySet<string> = new Set(["wasi_snapshot_preview1", "wasi_unstable"]);
