/** Where a trace goes: standard error, or a file. */
import { closeSync, openSync, writeSync } from "node:fs";
import { BarecellError, errorText } from "../errors.ts";
import type { TraceListener } from "../observe/call-tracer.ts";
import { usageError } from "./report.ts";
import { stderr } from "./terminal.ts";
import { traceJson, traceLine } from "./trace-view.ts";

export interface TraceOutput {
  readonly listener: TraceListener | undefined;
  /** @throws BARECELL_FILE_UNWRITABLE if not all of it could be written */
  end(): void;
}

/** @throws BARECELL_FILE_UNWRITABLE */
export function openTrace(format: "text" | "json" | undefined, path: string | undefined): TraceOutput {
  if (format === undefined) {
    if (path !== undefined) throw usageError("--trace-out needs --trace, which says what to write there");
    return { listener: undefined, end() {} };
  }
  const spell = format === "json" ? traceJson : traceLine;
  if (path === undefined) {
    return { listener: (record) => stderr.line(spell(record)), end() {} };
  }
  const unwritable = (cause: unknown): BarecellError =>
    new BarecellError("BARECELL_FILE_UNWRITABLE", `cannot write the trace to ${path}: ${errorText(cause)}`, {
      cause,
    });
  let fd: number;
  try {
    fd = openSync(path, "w");
  } catch (error) {
    throw unwritable(error);
  }
  let failure: BarecellError | undefined;
  return {
    listener(record) {
      // The guest goes on all the same; the command fails in the end.
      if (failure !== undefined) return;
      try {
        writeAll(fd, `${spell(record)}\n`);
      } catch (error) {
        failure = unwritable(error);
      }
    },
    end() {
      closeSync(fd);
      if (failure !== undefined) throw failure;
    },
  };
}

function writeAll(fd: number, text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
}
