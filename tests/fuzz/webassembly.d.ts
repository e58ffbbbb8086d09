/** More of the WebAssembly JavaScript API than src/compiler/webassembly.d.ts states. */
declare namespace WebAssembly {
  class RuntimeError extends Error {}
  class LinkError extends Error {}
  class Global {
    readonly value: unknown;
  }
}
