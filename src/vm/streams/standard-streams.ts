/** The standard streams of one VM that are streams of JavaScript: their pipes, and what goes through them while calls run. */
import { BarecellError, errorText } from "../../errors.ts";
import type { NativePipe, NativeStream } from "../addon.ts";
import { InputPump } from "./input-pump.ts";
import type { InputStream, OutputStream } from "./kinds.ts";
import { OutputPump } from "./output-pump.ts";
import { sourceOf } from "./sources.ts";
import { targetOf } from "./targets.ts";

/** What the options ask for; a "stream" is what this file is for. */
export type CheckedInput = NativeStream | { readonly kind: "stream"; readonly stream: InputStream };
export type CheckedOutput = NativeStream | { readonly kind: "stream"; readonly stream: OutputStream };

export interface CheckedStreams {
  readonly stdin: CheckedInput;
  readonly stdout: CheckedOutput;
  readonly stderr: CheckedOutput;
}

export interface NativeStreams {
  readonly stdin: NativeStream;
  readonly stdout: NativeStream;
  readonly stderr: NativeStream;
}

type NewPipe = (direction: "input" | "output") => NativePipe;

interface StreamFailure {
  /** `wasi.stdout` */
  readonly stream: string;
  readonly error: unknown;
}

/** The longest that timers can. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class StandardStreams {
  /** For the addon. */
  readonly native: NativeStreams;
  readonly #inputs: InputPump[] = [];
  readonly #outputs: { readonly stream: string; readonly pump: OutputPump }[] = [];
  /** The first that no call has reported yet. */
  #failure: StreamFailure | undefined;
  #late: string | undefined;
  #abandoned = false;
  #disposed = false;

  /** @throws BARECELL_ARGUMENT_INVALID if a web stream is locked, BARECELL_STREAM_FAILED if no pipe can be made */
  constructor(streams: CheckedStreams, newPipe: NewPipe) {
    try {
      const stdin = this.#input(streams.stdin, newPipe);
      const stdout = this.#output("wasi.stdout", streams.stdout, newPipe);
      this.native = { stdin, stdout, stderr: this.#stderr(streams, stdout, newPipe) };
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Whether bytes pass through JavaScript, which cannot happen while a synchronous call holds up its thread. */
  get needEventLoop(): boolean {
    return this.#inputs.length > 0 || this.#outputs.length > 0;
  }

  #input(input: CheckedInput, newPipe: NewPipe): NativeStream {
    if (input.kind !== "stream") return input;
    const source = unlocked("wasi.stdin", () => sourceOf(input.stream));
    let pipe: NativePipe;
    try {
      pipe = newPipe("input");
    } catch (error) {
      source.release();
      throw error;
    }
    this.#inputs.push(new InputPump(pipe, source));
    return { kind: "pipe", pipe };
  }

  #output(stream: string, output: CheckedOutput, newPipe: NewPipe): NativeStream {
    if (output.kind !== "stream") return output;
    const target = unlocked(stream, () => targetOf(output.stream));
    let pipe: NativePipe;
    try {
      pipe = newPipe("output");
    } catch (error) {
      target.release();
      throw error;
    }
    this.#outputs.push({ stream, pump: new OutputPump(pipe, target, (error) => this.#fail(stream, error)) });
    return { kind: "pipe", pipe };
  }

  /** Output of both kinds to one stream goes through one pipe, which keeps its order. */
  #stderr({ stdout, stderr }: CheckedStreams, native: NativeStream, newPipe: NewPipe): NativeStream {
    const isSame = stdout.kind === "stream" && stderr.kind === "stream" && stdout.stream === stderr.stream;
    return isSame ? native : this.#output("wasi.stderr", stderr, newPipe);
  }

  /**
   * Moves bytes while the guest runs. Settles as the run does, but not before all that the guest wrote was taken, or cannot be.
   * @param start what it throws is thrown; @param timeoutMs for what is to be taken when the run is over, 0 for no limit
   */
  during<T>(start: () => Promise<T>, timeoutMs: number): Promise<T> {
    if (!this.needEventLoop) return start();
    return this.#beside(start(), timeoutMs);
  }

  /** The call that runs was cancelled: it does not wait for targets. */
  abandon(): void {
    this.#abandoned = true;
    this.#closeBusy();
  }

  /** What busy targets have not yet taken is lost. */
  #closeBusy(): void {
    for (const { stream, pump } of this.#outputs) {
      if (!pump.isBusy) continue;
      this.#late ??= stream;
      pump.close();
    }
  }

  #begin(): void {
    this.#abandoned = false;
    for (const pump of this.#inputs) pump.begin();
    for (const { pump } of this.#outputs) pump.begin();
  }

  async #beside<T>(running: Promise<T>, timeoutMs: number): Promise<T> {
    // The caller has yet to note that a call runs before a stream of the user's can do something about it.
    await undefined;
    this.#begin();
    try {
      return await running;
    } finally {
      for (const pump of this.#inputs) {
        pump.end();
        const failure = pump.takeFailure();
        if (failure !== undefined) this.#fail("wasi.stdin", failure.error);
      }
      await this.#emptied(timeoutMs);
      for (const { pump } of this.#outputs) pump.end();
    }
  }

  async #emptied(timeoutMs: number): Promise<void> {
    const emptied = Promise.all(this.#outputs.map(({ pump }) => pump.emptied()));
    if (this.#abandoned) this.#closeBusy();
    const late = (): void => this.#closeBusy();
    const timer = timeoutMs > 0 ? setTimeout(late, Math.min(timeoutMs, MAX_TIMER_MS)) : undefined;
    await emptied;
    clearTimeout(timer);
  }

  #fail(stream: string, error: unknown): void {
    if (!this.#disposed) this.#failure ??= { stream, error };
  }

  /**
   * What a call is to throw, once it has ended: the failure of a stream, with the guest's own ending in it, or the guest's error as it is.
   * @param what for messages: `'fib'`; @param ending the guest's error; undefined if it returned
   */
  errorOf(what: string, ending?: unknown): unknown {
    const failure = this.#failure;
    const late = this.#late;
    this.#failure = undefined;
    this.#late = undefined;
    if (this.#disposed) return ending;
    if (ending !== undefined && !(ending instanceof BarecellError)) return ending;
    if (failure !== undefined) {
      return streamFailed(
        what,
        `${failure.stream} failed: ${errorText(failure.error)}`,
        failure.error,
        ending,
      );
    }
    // A target that takes nothing is why a guest runs out of time, and then that is what is said.
    if (late === undefined || ending !== undefined) return ending;
    return streamFailed(
      what,
      `${late} had not taken the guest's output when the time was up or the call was cancelled`,
      undefined,
      ending,
    );
  }

  /** Lets go of the user's streams. What is still in the pipes is lost. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    for (const pump of this.#inputs) pump.close();
    for (const { pump } of this.#outputs) pump.close();
  }
}

function streamFailed(
  what: string,
  message: string,
  cause: unknown,
  ending: BarecellError | undefined,
): BarecellError {
  const guest = ending === undefined ? "the guest returned, and its results are lost" : ending.message;
  return new BarecellError("BARECELL_STREAM_FAILED", `${what}: ${message} (${guest})`, {
    ...(cause === undefined ? {} : { cause }),
    ...(ending === undefined ? {} : { backtrace: ending.backtrace }),
    ...(ending?.exitCode === undefined ? {} : { exitCode: ending.exitCode }),
  });
}

function unlocked<T>(stream: string, take: () => T): T {
  try {
    return take();
  } catch (cause) {
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      `${stream} cannot be used: ${errorText(cause)}; a web stream must not be locked by another reader or writer`,
      { cause },
    );
  }
}
