/** All that is public. */

export { defaultCacheFolder } from "./compiler/cache.ts";
export { compile } from "./compiler/compile.ts";
export type { CompileOptions, CompileStep } from "./compiler/options.ts";
export {
  BarecellError,
  type ErrorCode,
  type ErrorKind,
  errorTable,
  type GuestFrame,
  isBarecellError,
} from "./errors.ts";
export type { UnknownImports } from "./host/imports.ts";
export { Image } from "./image/image.ts";
export type {
  ImageExport,
  ImageImport,
  Manifest,
  Signature,
  TargetCpu,
  ValueType,
} from "./image/manifest.ts";
export { LinearMemoryView } from "./vm/linear-memory.ts";
export { type CallResult, type ExitCounts, MicroVM, type VmState } from "./vm/micro-vm.ts";
export type { BootOptions } from "./vm/options.ts";
export type { Timeline, TimelineStep } from "./vm/timeline.ts";
export type { WasmValue } from "./vm/values.ts";
export type {
  DirectoryGrant,
  InputSource,
  OutputTarget,
  WasiLimits,
  WasiOptions,
} from "./vm/wasi-options.ts";
