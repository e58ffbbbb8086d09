/** From a run of the vCPU that did not come to its end to the error that says why. */
import { BarecellError, type BarecellErrorDetails, type ErrorCode } from "../errors.ts";
import type { Image } from "../image/image.ts";
import { type NativeOutcome, type NativeVm, OUTCOME } from "./addon.ts";
import { backtraceOf } from "./backtrace.ts";
import type { EntryRun } from "./execution.ts";
import type { Limits } from "./limits.ts";
import { describeException, describeReportedTrap } from "./trap.ts";

export interface OutcomeContext {
  readonly image: Image;
  readonly native: NativeVm;
  readonly run: EntryRun;
  /** Why the last host function failed that did. */
  readonly failure: BarecellError | undefined;
  /** What went wrong before in a call back into the guest, if the guest cannot go on after it. */
  readonly broken: BarecellError | undefined;
}

export function outcomeError(context: OutcomeContext, outcome: NativeOutcome): BarecellError {
  const { image, native, run } = context;
  const { what, limits } = run;
  const backtrace = backtraceOf(image, native, outcome);
  const error = (code: ErrorCode, message: string, details: BarecellErrorDetails = {}): BarecellError =>
    new BarecellError(code, `${what}: ${message}`, { backtrace, ...details });
  switch (outcome.kind) {
    case OUTCOME.trap: {
      const trap = describeReportedTrap(outcome.code, run.instantiates, image.manifest.metering);
      return error(trap.code, trap.message);
    }
    case OUTCOME.exception: {
      const trap = describeException(outcome, image, native);
      return error(trap.code, trap.message);
    }
    case OUTCOME.syscall:
      return error("BARECELL_TRAP_PRIVILEGED_INSTRUCTION", "the guest executed 'syscall'");
    case OUTCOME.timeout:
      return timeout(limits, outcome, error);
    case OUTCOME.cancelled:
      return error("BARECELL_DISPOSED", "the VM was disposed while it ran");
    case OUTCOME.outputLimit:
      return error(
        "BARECELL_OUTPUT_LIMIT",
        `the guest wrote more than maxOutputBytes (${limits.get("maxOutputBytes")}) of captured output`,
      );
    case OUTCOME.exit:
      return new BarecellError(
        "BARECELL_GUEST_EXIT",
        `${what}: the guest exited with status ${outcome.code}`,
        { exitCode: outcome.code },
      );
    case OUTCOME.hostFailed:
      return hostFailed(context, error);
    case OUTCOME.hostCalls:
      return error(
        "BARECELL_HOST_CALL_LIMIT",
        `the guest made more host calls than its maxHostCalls of ${limits.get("maxHostCalls")}`,
      );
    default:
      return error(
        "BARECELL_GUEST_PROTOCOL",
        `the guest left the VM in an unknown way: ${outcome.detail || "it reported out of turn"}`,
      );
  }
}

type MakeError = (code: ErrorCode, message: string, details?: BarecellErrorDetails) => BarecellError;

function timeout(limits: Limits, outcome: NativeOutcome, error: MakeError): BarecellError {
  const { name, ms } = limits.timeoutOf(outcome.code);
  // Within a host function's call into the guest it may be the outer call's limit.
  const most = ms > 0 ? `its ${name} of ${ms}` : `the ${name} of the call around it`;
  return error("BARECELL_TIMEOUT", `the guest ran longer than ${most}`, { limit: name });
}

function hostFailed({ failure, broken }: OutcomeContext, error: MakeError): BarecellError {
  // The guest ended itself in a call that a host function made: that is no failure of the function's.
  if (broken?.code === "BARECELL_GUEST_EXIT" && failure?.cause === broken) return broken;
  if (failure === undefined) return error("BARECELL_HOST_FUNCTION_FAILED", "a host function failed");
  return error(failure.code, failure.message, { cause: failure.cause });
}
