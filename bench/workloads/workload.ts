/** What a workload is: one function in C and as WebAssembly, how often it does its work, and what must come of it. */

export interface Workload {
  readonly name: string;
  /** One line for people. */
  readonly title: string;
  /** Small numbers come first. */
  readonly order: number;
  /** In the project's folder `bench/`. `kernel_run(n)` does the work; `kernel_data` takes the input, if there is any. */
  readonly wasm: string;
  readonly source: string;
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
