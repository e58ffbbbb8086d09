/** What a script is run on: barecell (see barecell.ts), or a stand-in where a test has no VM. */
import type { ValueType } from "./compare.ts";

export type ExternKind = "func" | "table" | "memory" | "global";

export type Exported =
  | { readonly kind: "func"; readonly params: readonly ValueType[]; readonly results: readonly ValueType[] }
  | { readonly kind: "global"; readonly type: ValueType }
  | { readonly kind: "table" | "memory" };

/** Of a module what is needed to link and call it. */
export interface ModuleShape {
  readonly imports: readonly {
    readonly module: string;
    readonly name: string;
    readonly kind: ExternKind;
    /** Only of a global. */
    readonly mutable: boolean;
  }[];
  readonly exports: ReadonlyMap<string, Exported>;
  /** That its own memories start with. */
  readonly memoryPages: number;
  /** For the engine's own use. */
  readonly info: unknown;
}

export interface EngineModule {
  /** Unique in its image. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly shape: ModuleShape;
  /** By import module name the name of the module that is behind it, earlier in the list. */
  readonly link: Readonly<Record<string, string>>;
}

export interface Engine {
  /** @throws CodedError if it is not a valid module, or one that is not supported */
  validate(bytes: Uint8Array): ModuleShape;
  /**
   * Translates a module as far as goes without the C compiler.
   * @throws CodedError
   */
  translate(bytes: Uint8Array): Promise<void>;
  /**
   * Whether the last module's imports match what it is linked to, as far as can be said without running anything.
   * @throws CodedError
   */
  checkLinks(modules: readonly EngineModule[]): void;
  /** @throws CodedError */
  compile(modules: readonly EngineModule[]): Promise<EngineImage>;
}

export interface EngineImage {
  /** No module is instantiated yet. @throws CodedError */
  boot(): EngineVm;
}

export interface EngineVm {
  /** @throws CodedError if it traps, or is found not to fit what it imports */
  instantiate(module: string): void;
  /** @param slots one for each parameter @returns one for each result @throws CodedError if it traps */
  call(module: string, name: string, slots: Uint8Array): Uint8Array;
  /** @returns one slot */
  global(module: string, name: string): Uint8Array;
  dispose(): void;
}

/** What engines throw; barecell's own error is one. */
export interface CodedError extends Error {
  readonly code: string;
}

export function isCodedError(error: unknown): error is CodedError {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}

/** One line for people. */
export function describeError(error: unknown): string {
  if (isCodedError(error)) return `${error.code}: ${firstLine(error.message)}`;
  return error instanceof Error ? `${error.name}: ${firstLine(error.message)}` : String(error);
}

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";
