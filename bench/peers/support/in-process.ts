/** Peers whose instances are objects of the measuring process: made, called and dropped by synchronous calls. */
import vm from "node:vm";
import { type Prepared, Stopped } from "../peer.ts";
import { nowUs } from "./clock.ts";

export interface LocalInstance {
  run(): { result: number; output: Uint8Array | null };
  dispose(): void;
}

export interface LocalOptions {
  /** A new instance, ready to run. */
  readonly create: (limitMs: number | undefined) => LocalInstance;
  readonly details?: Prepared["details"];
  readonly dispose?: () => Promise<void>;
}

export function prepareLocal({ create, details, dispose }: LocalOptions): Prepared {
  return {
    async request(limitMs) {
      const begin = nowUs();
      const instance = create(limitMs);
      const readyUs = nowUs() - begin;
      try {
        const { result, output } = instance.run();
        const resultUs = nowUs() - begin;
        instance.dispose();
        return { readyUs, resultUs, endUs: nowUs() - begin, result, output };
      } catch (error) {
        instance.dispose();
        throw error;
      }
    },
    async loop(forMs) {
      const begin = nowUs();
      let requests = 0;
      while (nowUs() - begin < forMs * 1000) {
        const instance = create(undefined);
        instance.run();
        instance.dispose();
        requests++;
      }
      return { requests, elapsedUs: nowUs() - begin };
    },
    async hold(count) {
      const instances = Array.from({ length: count }, () => create(undefined));
      for (const instance of instances) instance.run();
      return async () => {
        for (const instance of instances) instance.dispose();
      };
    },
    ...(details === undefined ? {} : { details }),
    dispose: dispose ?? (async () => {}),
  };
}

/** Runs it with V8's own watchdog, the only way to end a function on the calling thread. @throws Stopped */
export function withWatchdog<T>(run: () => T, limitMs: number): T {
  try {
    return vm.runInNewContext("run()", { run }, { timeout: limitMs }) as T;
  } catch (error) {
    // It may be of the other context's kind, and no Error of this one.
    const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
    if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") throw new Stopped(String(message));
    throw error;
  }
}
