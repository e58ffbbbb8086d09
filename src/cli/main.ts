#!/usr/bin/env node
/** The command line's beginning. What a command does not need is not loaded, since starting is part of what users wait for. */
import { runProgram } from "./program.ts";
import { reportError } from "./report.ts";

// No stack trace for users, whatever happens.
process.on("uncaughtException", (error) => process.exit(reportError(error, false)));

process.exitCode = await runProgram(process.argv.slice(2), {
  run: async (invocation) => (await import("./run.ts")).run(invocation),
  compile: async (invocation) => (await import("./compile-command.ts")).compileCommand(invocation),
  inspect: async (invocation) => (await import("./inspect.ts")).inspect(invocation),
  bench: async (invocation) => (await import("./bench.ts")).bench(invocation),
  doctor: async (invocation) => (await import("./doctor.ts")).doctor(invocation),
});
