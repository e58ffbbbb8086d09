/** What the main thread and the workers of a soak run tell each other. */
import type { BootOptions } from "../support/barecell.ts";

/** An image, ready to boot, and what its `victim` may come to. */
export interface SoakGuest {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Results and codes; "any result" among them stands for every bigint. */
  readonly expected: readonly (string | bigint)[];
  readonly options: BootOptions;
  /** Whether its export `closed` is as the host module has it, so that host functions can be tried with it. */
  readonly callsHost?: true;
}

/** Work for one worker, until it says that it is done. */
export interface Assignment {
  readonly seed: number;
  readonly runs: number;
  /** VMs at once. */
  readonly vms: number;
  readonly guests: readonly SoakGuest[];
}

export interface Summary {
  readonly runs: number;
  /** How often each end came, by kind. */
  readonly ends: Readonly<Record<string, number>>;
  /** What should not have been. */
  readonly failures: readonly string[];
}

export function addEnds(total: Record<string, number>, ends: Readonly<Record<string, number>>): void {
  for (const [kind, count] of Object.entries(ends)) total[kind] = (total[kind] ?? 0) + count;
}
