/** What a peer is: one way of keeping a function apart from its host. One file of this folder each; see docs/benchmarking.md. */

/** What stands between the function and the host, from nothing to most. The report sorts by it. */
export const WALLS = {
  none: "nothing: the function is a part of the process",
  language: "WebAssembly's own rules, in the host's process",
  thread: "a thread or isolate with a heap of its own, in the host's process",
  process: "a process of the kernel",
  container: "a process with namespaces: shares the host's kernel",
  kernel: "a kernel of its own in user space",
  vm: "a virtual machine",
} as const;
export type Wall = keyof typeof WALLS;

/** A workload made ready: everything a provider could do before the first request. */
export interface Program {
  readonly name: string;
  readonly n: number;
  readonly expected: number;
  readonly wasmPath: string;
  /** Statically linked (bench/native/main.c); null with the reason in `nativeProblem`. */
  readonly programPath: string | null;
  /** A shared library (bench/native/library.c). */
  readonly libraryPath: string | null;
  readonly nativeProblem: string | null;
  readonly input: Uint8Array | null;
  readonly output: Uint8Array | null;
  readonly callsHost: boolean;
}

export interface Setting {
  /** For files of this run; removed afterwards. */
  readonly scratch: string;
  /** bench/native/launcher.c, compiled; null without a C compiler. */
  readonly launcherPath: string | null;
  /** bench/floor, compiled; null without a C compiler. */
  readonly floorPath: string | null;
  /** bench/native/guest-init.c, compiled and statically linked; null without a C compiler. */
  readonly guestInitPath: string | null;
}

/** One request. Microseconds since it was made. */
export interface Sample {
  /** The instance is ready to run the function; null where that cannot be seen. */
  readonly readyUs: number | null;
  /** The result is in the caller's hands. */
  readonly resultUs: number;
  /** All that the instance held is free again. */
  readonly endUs: number;
  readonly result: number;
  readonly output: Uint8Array | null;
}

export interface Availability {
  /** What runs it: name and version. */
  readonly version: string;
  /** What was chosen here and may be chosen otherwise. */
  readonly settings?: string;
}

/** Why a peer is not measured, and the cure. */
export class Unavailable extends Error {
  readonly install: string;
  constructor(reason: string, install: string) {
    super(reason);
    this.install = install;
  }
}

/** The request was ended because it took longer than it might. */
export class Stopped extends Error {}

/** A peer with one program. */
export interface Prepared {
  /**
   * A request from nothing to the result, in an instance that no other request has used.
   * @param limitMs after which the peer's own means end it (rejects with `Stopped`); without them it is ignored
   */
  request(limitMs?: number): Promise<Sample>;
  /** Requests one after the other for so long. Without it `request()` is called in a loop. */
  loop?(forMs: number): Promise<{ readonly requests: number; readonly elapsedUs: number }>;
  /** As many instances that have answered and stay, until the function returned is called. Without it memory is not measured. */
  hold?(count: number): Promise<() => Promise<void>>;
  /** What is of interest besides, as plain JSON; such as the timeline of a boot. */
  details?(): Promise<Readonly<Record<string, unknown>>>;
  dispose(): Promise<void>;
}

export interface Peer {
  /** As on the command line. */
  readonly name: string;
  readonly title: string;
  /** Where it stands among the peers of the same wall; small numbers come first. */
  readonly order: number;
  readonly wall: Wall;
  /** Whether it is this project's own: others are compared with those. */
  readonly isOwn?: true;
  /** Whether the instance is made before the request comes: not to be compared with what makes one for it. */
  readonly isAhead?: true;
  /** What a request's time includes, and what it leaves out. */
  readonly includes: string;
  readonly leavesOut: string;
  /** @throws Unavailable */
  available(setting: Setting): Promise<Availability>;
  /** Why it cannot run a program, or null. */
  unsuited?(program: Program): string | null;
  prepare(program: Program, setting: Setting): Promise<Prepared>;
  /** Ends what a killed measuring process may have left, such as containers. Called after it, also when nothing is wrong. */
  sweep?(setting: Setting): Promise<void>;
}
