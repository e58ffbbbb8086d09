/** Ending a compilation by the caller's signal. */
import { BarecellError } from "../errors.ts";

/** @throws BARECELL_CANCELLED if the signal says so; its reason is the `cause` */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  throw new BarecellError("BARECELL_CANCELLED", "the compilation was stopped by its AbortSignal", {
    cause: signal.reason,
  });
}
