/** One line on a terminal that says what a long compile is doing. Nothing where nobody looks, and nothing if it is quick. */
import type { CompileStep } from "../compiler/options.ts";
import { hasUnicode, printableName, stderr } from "./terminal.ts";

const SHOW_AFTER_MS = 1000;
const FRAME_MS = 100;
const STEPS: Readonly<Record<CompileStep, string>> = {
  validate: "checking the module",
  cached: "found in the cache",
  translate: "translating to C",
  compile: "compiling C",
  link: "linking",
  done: "writing",
};

export interface Progress {
  step(step: CompileStep): void;
  /** Removes the line. */
  end(): void;
}

const SILENT: Progress = { step() {}, end() {} };

/** @param what is going on, for the beginning of the line */
export function showProgress(what: string): Progress {
  if (!stderr.isTerminal) return SILENT;
  const frames = hasUnicode() ? [..."⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"] : [..."|/-\\"];
  const started = performance.now();
  let step: CompileStep = "validate";
  let isShown = false;
  let frame = 0;
  const timer = setInterval(() => {
    const elapsed = performance.now() - started;
    if (elapsed < SHOW_AFTER_MS) return;
    isShown = true;
    const spin = frames[frame++ % frames.length] ?? "";
    const seconds = Math.floor(elapsed / 1000);
    // "\r" to the beginning of the line, "\x1b[K" clears the rest of it.
    stderr.write(
      `\r${stderr.style("cyan", spin)} ${printableName(what)}: ${STEPS[step]} (${seconds} s)\x1b[K`,
    );
  }, FRAME_MS);
  timer.unref();
  return {
    step(next) {
      step = next;
    },
    end() {
      clearInterval(timer);
      if (isShown) stderr.write("\r\x1b[K");
      isShown = false;
    },
  };
}
