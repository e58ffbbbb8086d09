/** One worker process, from its start to its end: what it was given to do, what it says, and how it ended. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { BarecellError, errorText } from "../errors.ts";
import type { PoolMetrics } from "../pool/pool.ts";
import { errorFromMessage } from "./error-message.ts";
import type { CallRequest, FromWorker, StartMessage, ToWorker } from "./messages.ts";

const PROGRAM = fileURLToPath(new URL("./worker-main.js", import.meta.url));
/** From its start until it takes calls; the host module is loaded in between. */
const START_MS = 30_000;
/** Between the end of the process and the end of its channel, which may hold its last answers. */
const DRAIN_MS = 1000;

export interface WorkerSettings {
  readonly start: StartMessage;
  /** Descriptors that the process inherits, behind its channel. */
  readonly fds: readonly number[];
  readonly env: Readonly<Record<string, string>>;
  readonly unresponsiveMs: number;
}

/** What a worker tells its owner. */
export interface WorkerEvents {
  up(): void;
  ready(): void;
  unready(error: Error): void;
  /** It has less to do than before. */
  free(): void;
  /** It is gone, and its calls with it. `reason` is undefined if it was to end. */
  gone(reason: Error | undefined): void;
}

interface PendingCall {
  readonly image: string;
  /** `performance.now()` by which it has to be answered; Infinity: never. */
  readonly deadline: number;
  settle(error: Error | undefined, value?: unknown): void;
}

/** A descriptor that is passed on is the place of its number behind stdin, stdout, stderr and the channel. */
export const FIRST_PASSED_FD = 4;

export class WorkerProcess {
  readonly max: number;
  readonly #child: ChildProcess;
  readonly #settings: WorkerSettings;
  readonly #events: WorkerEvents;
  readonly #calls = new Map<number, PendingCall>();
  readonly #running = new Map<string, number>();
  #expected = 0;
  #nextId = 1;
  #state: "starting" | "up" | "closing" | "gone" = "starting";
  #metrics: Readonly<Record<string, PoolMetrics>> = {};
  #timeoutsMs: Readonly<Record<string, number>> = {};
  /** Why it had to be killed, or could not be started. */
  #reason: Error | undefined;
  /** What it said itself of why it cannot take calls. */
  #failure: Error | undefined;
  #ended: { code: number | null; signal: string | null } | undefined;
  #drained = false;
  #heardAt = performance.now();
  #pingedAt: number | undefined;
  #lookedAt = performance.now();
  readonly #startedAt = performance.now();
  readonly #watch: NodeJS.Timeout;
  #isHeld = false;

  constructor(settings: WorkerSettings, events: WorkerEvents) {
    this.#settings = settings;
    this.#events = events;
    this.max = settings.start.max;
    const addon = process.env["BARECELL_ADDON"];
    this.#child = fork(PROGRAM, [], {
      // Nothing of the parent's reaches a process that runs tenants' code, but what was meant to.
      env: { ...(addon === undefined ? {} : { BARECELL_ADDON: addon }), ...settings.env },
      execArgv: [],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc", ...settings.fds],
    });
    this.#child.on("message", (message: FromWorker) => this.#take(message));
    this.#child.on("error", (error) => this.#startFailed(error));
    this.#child.once("exit", (code, signal) => {
      this.#ended = { code, signal };
      this.#afterEnd();
    });
    this.#child.once("disconnect", () => {
      this.#drained = true;
      this.#afterEnd();
    });
    this.#watch = setInterval(() => this.#lookAfter(), this.#lookEveryMs).unref();
    this.#setHold();
    try {
      this.#send(settings.start);
    } catch (error) {
      // An image that is too large for a message.
      this.#failure = error instanceof Error ? error : new Error(errorText(error));
      this.kill();
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isUp(): boolean {
    return this.#state === "up" && this.#child.connected;
  }

  /** Calls that it has, or is about to get. */
  get running(): number {
    return this.#calls.size + this.#expected;
  }

  /** A call of the image was promised to it: `run` has to follow. */
  expect(image: string): void {
    this.#expected++;
    this.#count(image, 1);
  }

  /** VMs that will be free for the image, by what it last said and what it has to do now. */
  readyOf(image: string): number {
    const said = this.#metrics[image];
    return said === undefined ? 0 : said.ready + said.running - this.runningOf(image);
  }

  runningOf(image: string): number {
    return this.#running.get(image) ?? 0;
  }

  /** As it last said. */
  get metrics(): Readonly<Record<string, PoolMetrics>> {
    return this.#metrics;
  }

  /** Milliseconds since it was started. */
  get ageMs(): number {
    return performance.now() - this.#startedAt;
  }

  /** Whether it keeps the parent's event loop alive. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#setHold();
  }

  #setHold(): void {
    const change = this.#isHeld ? "ref" : "unref";
    this.#child[change]();
    this.#child.channel?.[change]();
    this.#watch[change]();
  }

  /** @param call one that it expects; @throws as the call does, BARECELL_WORKER_LOST */
  run(
    call: Omit<CallRequest, "kind" | "id">,
    timeoutMs: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const id = this.#nextId++;
    const vmMs = this.#timeoutsMs[call.image] ?? Number.POSITIVE_INFINITY;
    // A wait, a boot in it, the call itself.
    const allowedMs = call.waitMs + vmMs + (timeoutMs ?? vmMs) + this.#settings.unresponsiveMs;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#send({ kind: "cancel", id });
      this.#expected--;
      if (this.#state === "gone") {
        this.#count(call.image, -1);
        reject(lost("it ended before the call could be sent", undefined));
        return;
      }
      this.#calls.set(id, {
        image: call.image,
        deadline: performance.now() + allowedMs,
        settle: (error, value) => {
          signal?.removeEventListener("abort", onAbort);
          this.#calls.delete(id);
          this.#count(call.image, -1);
          if (error === undefined) resolve(value);
          else reject(error);
        },
      });
      if (this.#calls.size === 1) this.#heardAt = performance.now();
      try {
        this.#send({ kind: "call", id, ...call });
      } catch (cause) {
        const text = `the call of '${call.name}' cannot be sent to a worker process: ${errorText(cause)}`;
        this.#calls.get(id)?.settle(new BarecellError("BARECELL_ARGUMENT_INVALID", text, { cause }));
        return;
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted) onAbort();
    });
  }

  #count(image: string, change: number): void {
    this.#running.set(image, this.runningOf(image) + change);
  }

  /** Has it try once more to have its VMs ready, and say so. */
  retryReady(): void {
    this.#send({ kind: "ready" });
  }

  /** Lets its calls end, then itself. */
  close(): void {
    if (this.#state === "gone" || this.#state === "closing") return;
    const wasUp = this.#state === "up";
    this.#state = "closing";
    // What takes no calls yet has nothing to lose, and may never come to read the message.
    if (wasUp) this.#send({ kind: "close" });
    else this.kill();
  }

  kill(reason?: Error): void {
    this.#reason ??= reason;
    this.#child.kill("SIGKILL");
  }

  #send(message: ToWorker): void {
    if (!this.#child.connected) return;
    // What does not arrive is answered for by the end of the process.
    this.#child.send(message, () => {});
  }

  #take(message: FromWorker): void {
    this.#heardAt = performance.now();
    this.#pingedAt = undefined;
    switch (message.kind) {
      case "up":
        this.#timeoutsMs = message.timeoutsMs;
        if (this.#state !== "starting") return;
        this.#state = "up";
        this.#events.up();
        return;
      case "ready":
        this.#events.ready();
        return;
      case "unready":
        this.#events.unready(errorFromMessage(message.error));
        return;
      case "failed":
        this.#failure = errorFromMessage(message.error);
        return;
      case "state":
        this.#metrics = message.metrics;
        return;
      case "result":
      case "error":
        this.#answered(message);
    }
  }

  #answered(message: Extract<FromWorker, { kind: "result" | "error" }>): void {
    const call = this.#calls.get(message.id);
    if (call === undefined) return;
    this.#metrics = { ...this.#metrics, [call.image]: message.metrics };
    if (message.kind === "result") call.settle(undefined, message.value);
    else call.settle(errorFromMessage(message.error));
    this.#events.free();
  }

  get #lookEveryMs(): number {
    return Math.max(5, this.#settings.unresponsiveMs / 4);
  }

  /** A process that is stopped, or whose thread somebody holds up, says nothing and ends nothing. */
  #lookAfter(): void {
    const now = performance.now();
    const { unresponsiveMs } = this.#settings;
    if (this.#ended !== undefined) return;
    const isLate = now - this.#lookedAt > 3 * this.#lookEveryMs;
    this.#lookedAt = now;
    if (isLate) {
      // This thread was held up, not the worker: what that said meanwhile is still to be read.
      this.#heardAt = now;
      this.#pingedAt = undefined;
      return;
    }
    if (this.#state === "starting") {
      // It reads no messages while its modules are loaded.
      if (now - this.#startedAt > START_MS)
        this.kill(new Error(`it did not take calls ${START_MS} ms after its start`));
      return;
    }
    if (this.#calls.size === 0 && this.isUp) return;
    for (const { deadline } of this.#calls.values()) {
      if (now > deadline) {
        this.kill(new Error("a call was not over long after its time limit"));
        return;
      }
    }
    if (this.#pingedAt !== undefined && now - this.#pingedAt > unresponsiveMs) {
      this.kill(new Error(`it did not answer for unresponsiveMs of ${unresponsiveMs}`));
    } else if (this.#pingedAt === undefined && now - this.#heardAt > unresponsiveMs) {
      this.#pingedAt = now;
      this.#send({ kind: "ping" });
    }
  }

  #startFailed(error: Error): void {
    this.#reason ??= error;
    // Without a process there is no "exit".
    if (this.#child.pid !== undefined) return;
    this.#ended = { code: null, signal: null };
    this.#drained = true;
    this.#afterEnd();
  }

  #afterEnd(): void {
    if (this.#ended === undefined || this.#state === "gone") return;
    if (!this.#drained) {
      // Somebody else may have the other end of the channel open.
      setTimeout(() => {
        this.#drained = true;
        this.#afterEnd();
      }, DRAIN_MS).unref();
      return;
    }
    const wasClosing = this.#state === "closing";
    this.#state = "gone";
    clearInterval(this.#watch);
    const how = lost(spell(this.#ended), this.#reason);
    for (const call of [...this.#calls.values()]) call.settle(how);
    this.#events.gone(wasClosing ? undefined : (this.#failure ?? how));
  }
}

function spell({ code, signal }: { code: number | null; signal: string | null }): string {
  if (signal !== null) return `it was ended by ${signal}`;
  return code === null ? "it could not be started" : `it exited with status ${code}`;
}

/** @param reason what made it end, if that is known better */
function lost(how: string, reason: Error | undefined): BarecellError {
  const why = reason === undefined ? how : `${reason.message} (${how})`;
  return new BarecellError("BARECELL_WORKER_LOST", `the worker process is gone: ${why}`, {
    cause: reason ?? new Error(how),
  });
}
