/** What a VM did and used so far. */
import type { NativeUsage } from "./addon.ts";
import type { Execution } from "./execution.ts";
import type { ExitCounts } from "./micro-vm.ts";

export interface VmStats {
  /** Calls of exports, those made by host functions included. */
  readonly calls: number;
  /** The boot and all runs, from their beginning to their end, microseconds. */
  readonly wallUs: number;
  /** Processor time of the threads that ran the vCPU while they did, the kernel's part of it, and their page faults; host functions that ran on the same thread
   * are in it. Only with the boot option `usage`. */
  readonly cpu: NativeUsage | undefined;
  /** Host calls by `module.name`; those of imports that nobody granted under `(unknown imports)`. */
  readonly hostCalls: Readonly<Record<string, number>>;
  readonly exits: ExitCounts;
  /** All linear memories together, bytes. They never shrink but by a reset. */
  readonly linearBytes: number;
  readonly growthRefusals: number;
  readonly resets: number;
  /** What KVM counted for the VM and its vCPU, by KVM's own names (`pf_taken`: page faults in the guest); empty where it counts nothing. */
  readonly kvm: Readonly<Record<string, number>>;
}

/** @throws BARECELL_BUSY, BARECELL_DISPOSED */
export function readStats(execution: Execution): VmStats {
  execution.requireIdle();
  const { native, observer, options, image } = execution;
  const { calls, wallUs, hostCalls, growthRefusals, resets } = observer.totals();
  return {
    calls,
    wallUs,
    cpu: options.usage ? native.usage() : undefined,
    hostCalls,
    exits: native.exits(),
    linearBytes: image.manifest.memories.reduce((sum, _, i) => sum + native.linearBytes(i), 0),
    growthRefusals,
    resets,
    kvm: native.kvmStats(),
  };
}
