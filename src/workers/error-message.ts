/** Errors between a worker process and its pool: all that a caller can see of one, as plain data, and back. */
import {
  BarecellError,
  type BarecellErrorDetails,
  type ErrorCode,
  errorTable,
  errorText,
} from "../errors.ts";

/** An error as a message. */
export interface ErrorMessage {
  /** Null: another class than BarecellError. */
  readonly code: ErrorCode | null;
  readonly name: string;
  readonly message: string;
  /** Of other classes only: where a host function threw is of use, where barecell made its own error is not. */
  readonly stack?: string;
  /** The system's error code, as Node puts it. */
  readonly systemCode?: string;
  readonly details: Omit<BarecellErrorDetails, "cause">;
  readonly cause?: CauseMessage;
}

type CauseMessage = { readonly error: ErrorMessage } | { readonly value: unknown };

/** Causes of causes; an error may be its own. */
const MAX_DEPTH = 8;

/** What was thrown, whatever it is. */
export function errorToMessage(error: unknown, depth = 0): ErrorMessage {
  if (error instanceof BarecellError) {
    const { code, name, message, backtrace, exitCode, limit } = error;
    const details = {
      backtrace,
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(limit === undefined ? {} : { limit }),
    };
    return { code, name, message, details, ...causeOf(error, depth) };
  }
  if (!(error instanceof Error)) return { code: null, name: "Error", message: errorText(error), details: {} };
  const systemCode = text(() => (error as { code?: unknown }).code);
  const stack = text(() => error.stack);
  return {
    code: null,
    name: text(() => error.name) ?? "Error",
    message: errorText(error),
    ...(stack === undefined ? {} : { stack }),
    ...(systemCode === undefined ? {} : { systemCode }),
    details: {},
    ...causeOf(error, depth),
  };
}

/** A property that is a string; a getter of somebody else's may throw. */
function text(read: () => unknown): string | undefined {
  try {
    const value = read();
    return typeof value === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}

function causeOf(error: Error, depth: number): { cause?: CauseMessage } {
  let cause: unknown;
  try {
    cause = error.cause;
  } catch {
    return {};
  }
  if (cause === undefined || depth >= MAX_DEPTH) return {};
  if (cause instanceof Error) return { cause: { error: errorToMessage(cause, depth + 1) } };
  const isPlain = cause === null || ["string", "number", "bigint", "boolean"].includes(typeof cause);
  return { cause: { value: isPlain ? cause : errorText(cause) } };
}

/** The error that it was. One of another class than BarecellError is an Error with the same name, message, stack and code. */
export function errorFromMessage(message: ErrorMessage): Error {
  const cause =
    message.cause === undefined
      ? undefined
      : "error" in message.cause
        ? errorFromMessage(message.cause.error)
        : message.cause.value;
  if (message.code !== null && Object.hasOwn(errorTable, message.code)) {
    return new BarecellError(message.code, message.message, { ...message.details, cause });
  }
  const error = new Error(message.message, cause === undefined ? undefined : { cause });
  const hidden = { enumerable: false, writable: true, configurable: true };
  Object.defineProperty(error, "name", { ...hidden, value: message.name });
  if (message.stack !== undefined) Object.defineProperty(error, "stack", { ...hidden, value: message.stack });
  if (message.systemCode !== undefined) Object.assign(error, { code: message.systemCode });
  return error;
}
