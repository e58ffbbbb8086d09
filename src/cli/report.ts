/** From an error to what the user sees of it: text, JSON, exit status. */
import { BarecellError, type ErrorCode, errorText, type GuestFrame, isBarecellError } from "../errors.ts";
import { printable, printableName, stderr, stdout } from "./terminal.ts";

/** Exit statuses of the command line. 124 is timeout(1)'s, 130 and 134 a shell's for a program that Ctrl-C ends and for one that aborts. */
export const EXIT = { ok: 0, error: 1, usage: 2, timeout: 124, interrupted: 130, trap: 134 } as const;

/** An error of the command line itself, for its user. */
export function usageError(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}

/** Whether the guest did what it must not, as opposed to something that ended it or kept it from running. */
export function isTrap(error: BarecellError): boolean {
  return error.kind === "trap";
}

export function exitStatusOf(error: unknown): number {
  if (!isBarecellError(error)) return EXIT.error;
  if (isTrap(error)) return EXIT.trap;
  if (error.code === "BARECELL_TIMEOUT") return EXIT.timeout;
  return error.kind === "usage" ? EXIT.usage : EXIT.error;
}

/** `code` and `message`, as in every JSON answer that tells of an error. */
export function describeError(error: unknown): { code: ErrorCode; message: string } {
  return isBarecellError(error)
    ? { code: error.code, message: error.message }
    : { code: "BARECELL_INTERNAL", message: errorText(error) };
}

/** One object, on a line of its own. */
export function printJson(value: object): void {
  stdout.line(JSON.stringify(value));
}

/** Tells the user what went wrong, and returns the exit status. */
export function reportError(error: unknown, asJson: boolean): number {
  if (asJson) printJson({ ok: false, error: describeError(error) });
  else printError(error);
  if (process.env["BARECELL_DEBUG"] === "1") stderr.line(stackOf(error));
  return exitStatusOf(error);
}

/** Message, backtrace, code and cure, on standard error. */
export function printError(error: unknown): void {
  const { code, message } = describeError(error);
  const what = isBarecellError(error) && isTrap(error) ? "trap" : "error";
  stderr.line(
    `${stderr.style("bold", "barecell:")} ${stderr.style("red", `${what}:`)} ${printable(message)}`,
  );
  if (!isBarecellError(error)) {
    stderr.line("  this is a defect of barecell; with BARECELL_DEBUG=1 it shows where");
    return;
  }
  for (const frame of error.backtrace) stderr.line(`  at ${spellFrame(frame)}`);
  stderr.line(stderr.style("dim", `  code: ${code}`));
  stderr.line(stderr.style("dim", `  cure: ${error.cure}`));
}

/** `name (func[12])` */
export function spellFrame(frame: GuestFrame): string {
  const name =
    (frame.module === undefined ? "" : `${printableName(frame.module)}: `) + printableName(frame.name);
  if (frame.functionIndex === undefined) return name;
  const index = `func[${frame.functionIndex}]`;
  return name === index ? name : `${name} (${index})`;
}

/** For BARECELL_DEBUG: the host's own stack, and that of what caused it. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? String(error);
  return error.cause === undefined ? own : `${own}\ncaused by: ${stackOf(error.cause)}`;
}
