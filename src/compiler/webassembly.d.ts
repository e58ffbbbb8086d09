/** The part of the WebAssembly JavaScript API that the compiler uses; Node's types leave it to the DOM library. */
declare namespace WebAssembly {
  interface ModuleImportDescriptor {
    kind: string;
    module: string;
    name: string;
  }
  type Imports = Record<string, Record<string, unknown>>;
  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): ModuleImportDescriptor[];
    static exports(module: Module): { kind: string; name: string }[];
  }
  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Record<string, unknown>;
  }
  class Memory {
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  class CompileError extends Error {}
  function validate(bytes: Uint8Array): boolean;
}
