/** What a workload is: one function in C and as WebAssembly, how often it does its work, and what must come of it. */

export interface Workload {
  readonly name: string;
  /** One line for people. */
  readonly title: string;
  /** Small numbers come first. */
  readonly order: number;
  /**
   * In the project's folder `bench/`; or makes it of a program that is no part of the project: the module's path in a folder, rejects with `Unavailable`
   * where that program is not present. `kernel_run(n)` does the work; `kernel_data` takes the input, if there is any.
   */
  readonly wasm: string | ((folder: string) => Promise<string>);
  /** The same in C; null if there is none, so that it cannot run natively. */
  readonly source: string | null;
  readonly defines?: readonly string[];
  readonly n: number;
  /** What `kernel_run(n)` must return, as an unsigned number. */
  readonly expected: number;
  /** For runs that are only to show that all works; without it they do the same as others. */
  readonly quick?: { readonly n: number; readonly expected: number };
  /** Put at `kernel_data` before the call; `n` is its length. */
  readonly input?: Uint8Array;
  /** What `kernel_data` must hold after it. */
  readonly output?: Uint8Array;
  /** Whether it calls WASI's `clock_res_get`. */
  readonly callsHost?: true;
  /** Memory that it touches, bytes, where that is what it is about. */
  readonly touchesBytes?: number;
  /** Peers are also measured for throughput with it. */
  readonly forThroughput?: true;
}
