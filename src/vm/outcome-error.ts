/** From a run of the vCPU that did not come to its end to the error that says why. */
import { BarecellError, type ErrorCode } from "../errors.ts";
import type { Image } from "../image/image.ts";
import { type NativeOutcome, type NativeVm, OUTCOME } from "./addon.ts";
import { backtraceOf } from "./backtrace.ts";
import type { CheckedBootOptions } from "./options.ts";
import { describeException, describeReportedTrap } from "./trap.ts";

/** @param what ran: "starting the module", `'fib'`; @param instantiates whether it instantiated modules */
export function outcomeError(
  image: Image,
  native: NativeVm,
  options: CheckedBootOptions,
  outcome: NativeOutcome,
  what: string,
  instantiates: boolean,
): BarecellError {
  const backtrace = backtraceOf(image, native, outcome);
  const error = (code: ErrorCode, message: string): BarecellError =>
    new BarecellError(code, `${what}: ${message}`, { backtrace });
  switch (outcome.kind) {
    case OUTCOME.trap: {
      const trap = describeReportedTrap(outcome.code, instantiates);
      return error(trap.code, trap.message);
    }
    case OUTCOME.exception: {
      const trap = describeException(outcome, image, native);
      return error(trap.code, trap.message);
    }
    case OUTCOME.syscall:
      return error("BARECELL_TRAP_PRIVILEGED_INSTRUCTION", "the guest executed 'syscall'");
    case OUTCOME.timeout:
      return error("BARECELL_TIMEOUT", `the guest ran longer than its timeoutMs of ${options.timeoutMs}`);
    case OUTCOME.cancelled:
      return error("BARECELL_DISPOSED", "the VM was disposed while it ran");
    case OUTCOME.outputLimit:
      return error(
        "BARECELL_OUTPUT_LIMIT",
        `the guest wrote more than maxOutputBytes (${options.wasi.maxOutputBytes}) of captured output`,
      );
    case OUTCOME.exit:
      return new BarecellError(
        "BARECELL_GUEST_EXIT",
        `${what}: the guest exited with status ${outcome.code}`,
        { exitCode: outcome.code },
      );
    default:
      return error(
        "BARECELL_GUEST_PROTOCOL",
        `the guest left the VM in an unknown way: ${outcome.detail || "it reported out of turn"}`,
      );
  }
}
