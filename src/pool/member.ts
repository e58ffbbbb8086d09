/** The VMs of one image in a pool: those that are ready, and how many do something else. */
import type { MicroVM } from "../vm/micro-vm.ts";
import type { CheckedPoolImage } from "./options.ts";
import type { WaitingQueue } from "./queue.ts";

export interface ReadyVm {
  readonly vm: MicroVM;
  /** `performance.now()` when it became ready. */
  readonly since: number;
}

/** What a pool did so far for one image. */
export interface PoolCounts {
  /** Calls that got a VM. */
  calls: number;
  /** Of these, how many found one ready, and how many had to clean a used one themselves (synchronous calls). */
  hits: number;
  cleanedByCaller: number;
  boots: number;
  bootFailures: number;
  resets: number;
  /** VMs that could not be reset and were disposed. */
  resetFailures: number;
  /** VMs disposed because nobody needed them, or because another image did. */
  retired: number;
}

export class Member {
  readonly settings: CheckedPoolImage;
  readonly queue: WaitingQueue<MicroVM>;
  /** The last one became ready last: its pages are the warmest. */
  readonly ready: ReadyVm[] = [];
  /** Used, and not clean yet. */
  readonly used = new Set<MicroVM>();
  booting = 0;
  cleaning = 0;
  running = 0;
  /** Clean, and about to be given to somebody. */
  inHand = 0;
  readonly counts: PoolCounts = {
    calls: 0,
    hits: 0,
    cleanedByCaller: 0,
    boots: 0,
    bootFailures: 0,
    resets: 0,
    resetFailures: 0,
    retired: 0,
  };

  constructor(settings: CheckedPoolImage, queue: WaitingQueue<MicroVM>) {
    this.settings = settings;
    this.queue = queue;
  }

  /** All that count against the pool's `max`. */
  get vms(): number {
    return this.ready.length + this.used.size + this.booting + this.cleaning + this.running + this.inHand;
  }

  /** That will be ready without anybody's doing. */
  get coming(): number {
    return this.used.size + this.booting + this.cleaning;
  }
}
