/** What a hostile case is: machine code for an image's `victim`, and what must come of it. The tables in cases/ are made of these; tests and soak run them. */
import type { BootOptions, ErrorCode } from "../support/barecell.ts";
import { slowness } from "../support/environment.ts";
import { goodResult, victimResult } from "../support/expected-results.ts";
import { RawHost, ROUNDS } from "../support/raw-code.ts";

export interface Described {
  readonly code?: string;
  readonly message: string;
  readonly frames?: string[];
  readonly isCoded: boolean;
}

export interface Attempt {
  readonly value?: unknown;
  readonly error?: Described;
}

/** What the child process counts: more than before the case is a leak. */
export interface Resources {
  readonly vms: number;
  readonly descriptors: number;
  readonly threads: number;
}

export interface Report {
  readonly name: string;
  /** The image was refused, or did not start. */
  readonly boot?: Described;
  readonly calls?: readonly Attempt[];
  /** For each input of a sweep a result or an error's code. */
  readonly sweep?: readonly (bigint | string)[];
  /** How often `good` gave a wrong result between the inputs of a sweep. */
  readonly wrong?: number;
  /** The first KiB of linear memory afterwards. */
  readonly memory?: Uint8Array;
  /** What was captured of standard output and standard error. */
  readonly output?: readonly [Uint8Array, Uint8Array];
  readonly fresh: Attempt;
  /** More than before the case and the few that ran with it. */
  readonly left: Resources;
}

export type Expected = ErrorCode | bigint | "any result";

/** Raw code for `victim`, and what must come of it. */
export interface HostileCase {
  readonly name: string;
  /** Assembler text, AT&T syntax. */
  readonly code: string;
  /** Any of these; a bigint is a result: the code is harmless, or only leaks something. */
  readonly expected: readonly Expected[];
  readonly options?: BootOptions;
  /** Code of another tenant's, which runs before on the same thread, and whose VM is still there. */
  readonly predecessor?: string;
  /** What is called; default `victim`, then `good(9)` in the same VM, whose result must be right. */
  readonly calls?: readonly (readonly [string, ...unknown[]])[];
  /** A look at the report beyond that; throws. */
  readonly check?: (report: Report) => void;
  /** Why it cannot hold in the emulated machine. */
  readonly notOnSvm?: string;
}

/** Cases and the image whose `victim` their code replaces. */
export interface HostileTable {
  readonly title: string;
  readonly cases: readonly HostileCase[];
  readonly host: RawHost;
}

export const DEFAULT_OPTIONS: BootOptions = {
  wasi: {},
  unknownImports: "trap",
  afterTrap: "keep",
  timeoutMs: 10_000 * slowness,
};

export const rawHost: RawHost = await RawHost.create();

/** What `good(5)` and `victim()` of an image that nobody touched come to. */
export const NEIGHBOUR_RESULTS: readonly unknown[] = [goodResult(5), victimResult(ROUNDS)];
