/** All that is public. */

export type { BundleSource } from "./compiler/bundle-source.ts";
export { defaultCacheFolder } from "./compiler/cache.ts";
export { compile } from "./compiler/compile.ts";
export type { CompileOptions, CompileStep } from "./compiler/options.ts";
export type { ModuleSource } from "./compiler/sources.ts";
export {
  BarecellError,
  type ErrorCode,
  type ErrorKind,
  errorTable,
  type GuestFrame,
  isBarecellError,
} from "./errors.ts";
export type { UnknownImports } from "./host/imports.ts";
export type { ImageBundle } from "./image/bundle.ts";
export { Image } from "./image/image.ts";
export type {
  ImageExport,
  ImageImport,
  ImageMemory,
  ImageModule,
  Manifest,
  Signature,
  SnapshotFacts,
  ValueType,
} from "./image/manifest.ts";
export type { TargetCpu } from "./image/target-cpu.ts";
export type { TraceListener } from "./observe/call-tracer.ts";
export type {
  BootMessage,
  CallMessage,
  CompileMessage,
  GrowthRefusedMessage,
  HostCallMessage,
  KillMessage,
  LastingMessage,
  PlainMessages,
  ResetMessage,
  TrapMessage,
  VmMessage,
} from "./observe/channels.ts";
export { type Histogram, type Metrics, metrics } from "./observe/metrics.ts";
export type { HostCallEnding, HostCallKind, HostCallRecord, TracedValue } from "./observe/trace-record.ts";
export type { ArgumentKind } from "./observe/wasi-signatures.ts";
export type { PoolCounts } from "./pool/member.ts";
export type { PoolImage, PoolImageOptions, PoolOptions } from "./pool/options.ts";
export { Pool, PoolMember, type PoolMetrics, type UseOptions } from "./pool/pool.ts";
export type { CallOptions } from "./vm/call-options.ts";
export type { VmState } from "./vm/execution.ts";
export {
  HostContext,
  type HostFunction,
  type HostImports,
  type TypedHostFunction,
} from "./vm/host-context.ts";
export type { RunLimits } from "./vm/limits.ts";
export { LinearMemoryView } from "./vm/linear-memory.ts";
export { type ExitCounts, MicroVM } from "./vm/micro-vm.ts";
export { ModuleInstance } from "./vm/module-instance.ts";
export type { BootOptions } from "./vm/options.ts";
export { preinitialise } from "./vm/preinitialise.ts";
export { FunctionReference } from "./vm/references.ts";
export type { VmStats } from "./vm/stats.ts";
export type { InputChunk, InputStream, OutputCallback, OutputStream } from "./vm/streams/kinds.ts";
export { defineStruct, type StructField, type StructLayout, type StructValues } from "./vm/struct.ts";
export type { Timeline, TimelineStep } from "./vm/timeline.ts";
export type { CallResult, WasmValue } from "./vm/values.ts";
export type {
  DirectoryGrant,
  InputSource,
  OutputTarget,
  WasiLimits,
  WasiOptions,
} from "./vm/wasi-options.ts";
export type { HostModule } from "./workers/host-module.ts";
export type { WorkerPoolOptions } from "./workers/options.ts";
export { WorkerPool, WorkerPoolMember, type WorkerPoolMetrics } from "./workers/worker-pool.ts";
