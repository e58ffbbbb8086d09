/** The runner's end of a measuring process (host.ts): orders with deadlines. What does not answer in time is killed, with all it started. */
import { type ChildProcess, fork } from "node:child_process";
import type { Answers, HostTask, Order, Reply } from "./messages.ts";

/** The process ended, or was ended because it did not answer. */
export class PeerProcessEnded extends Error {
  readonly how: "hung" | "died" | "interrupted";
  constructor(how: "hung" | "died" | "interrupted", message: string) {
    super(message);
    this.how = how;
  }
}

/** The peer says that it cannot. */
export class PeerFailed extends Error {
  readonly install: string | undefined;
  constructor(message: string, install: string | undefined) {
    super(message);
    this.install = install;
  }
}

const HOST = new URL("./host.js", import.meta.url);
const END_PATIENCE_MS = 5000;
/** An engine needs a second for each of its commands, and more on a busy machine. */
const INTERRUPT_PATIENCE_MS = 12_000;
const STDERR_KEPT = 2000;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export interface PeerProcessOptions {
  /** The only processor that it and all it starts may use. */
  readonly core?: number | undefined;
  /** Default: host.js beside this file. */
  readonly script?: URL;
}

export class PeerProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended: Promise<void>;
  #next = 0;
  #hasEnded = false;
  #ending: Promise<void> | undefined;
  #verdict: PeerProcessEnded | undefined;
  #errors = "";

  constructor(task: HostTask, { core, script = HOST }: PeerProcessOptions = {}) {
    const pin =
      core === undefined ? {} : { execPath: "taskset", execArgv: ["-c", String(core), process.execPath] };
    const own = ["--expose-gc", "--disable-warning=ExperimentalWarning"];
    this.#child = fork(script, [JSON.stringify(task)], {
      serialization: "advanced",
      // A group of its own, so that it can be killed with all it started.
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      ...pin,
      execArgv: [...(pin.execArgv ?? []), ...own],
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-STDERR_KEPT);
    });
    this.#child.on("message", (message) => this.#take(message as Reply));
    this.#ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#hasEnded = true;
        const why = this.#errors.trim().split("\n").at(-1) ?? "";
        this.#fail(this.#verdict ?? new PeerProcessEnded("died", why === "" ? how : `${how}: ${why}`));
        resolve();
      };
      this.#child.on("error", (error) => end(error.message));
      this.#child.on("exit", (status, signal) =>
        end(
          signal === null
            ? `the host process ended with status ${status}`
            : `the host process was killed by ${signal}`,
        ),
      );
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** @throws PeerProcessEnded, PeerFailed */
  async order<Op extends Order["op"]>(
    order: Extract<Order, { op: Op }>,
    deadlineMs: number,
  ): Promise<Answers[Op]> {
    if (this.#hasEnded) throw this.#verdict ?? new PeerProcessEnded("died", "the host process has ended");
    const id = this.#next++;
    const timer = setTimeout(() => {
      this.kill(
        new PeerProcessEnded("hung", `no answer to "${order.op}" within ${deadlineMs / 1000} s; killed`),
      );
    }, deadlineMs);
    try {
      return await new Promise<Answers[Op]>((resolve, reject) => {
        this.#waiting.set(id, { resolve: (value) => resolve(value as Answers[Op]), reject });
        this.#child.send({ id, ...order }, (error) => {
          // The exit that follows says why.
          if (error && this.#hasEnded) reject(new PeerProcessEnded("died", error.message));
        });
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Kills it and what it started; orders that wait fail with `verdict`. */
  kill(verdict: PeerProcessEnded): void {
    if (this.#hasEnded) return;
    this.#verdict ??= verdict;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      this.#child.kill("SIGKILL");
    }
  }

  /** In good order if it can, else by force. Orders that wait fail. */
  end(): Promise<void> {
    return this.#endWithin(END_PATIENCE_MS);
  }

  /** Who asks first says how patiently. */
  #endWithin(patienceMs: number): Promise<void> {
    this.#ending ??= this.#disconnect(patienceMs);
    return this.#ending;
  }

  async #disconnect(patienceMs: number): Promise<void> {
    if (this.#hasEnded) return;
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(
      () => this.kill(new PeerProcessEnded("hung", "it did not end; killed")),
      patienceMs,
    );
    await this.#ended;
    clearTimeout(timer);
  }

  /** As `end`, in the middle of whatever it does: what it has started, such as containers, is stopped by its own means, and only then by force. */
  interrupt(): void {
    this.#verdict ??= new PeerProcessEnded("interrupted", "interrupted");
    this.#fail(this.#verdict);
    void this.#endWithin(INTERRUPT_PATIENCE_MS);
  }

  #take(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (reply.ok) waiting?.resolve(reply.value);
    else waiting?.reject(new PeerFailed(reply.message, reply.install));
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
