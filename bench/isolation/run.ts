/** What a measurement has while it runs: its peers with their processes, what was found so far, and whether somebody wants it to end. */
import type { Peer, Program, Setting } from "../peers/peer.ts";
import { errorText, oneLine } from "../peers/support/error-text.ts";
import type { Workload } from "../workloads/workload.ts";
import type { Answers, Order } from "./messages.ts";
import { PeerFailed, PeerProcess, PeerProcessEnded } from "./peer-process.ts";
import type { Plan } from "./plan.ts";

/** Somebody pressed Ctrl-C. */
export class Interrupted extends Error {}

/** A process that dies or hangs again and again is not started for ever. */
const MOST_DEATHS = 3;

/** A peer that can be measured here. */
export interface Contender {
  readonly peer: Peer;
  readonly version: string;
  readonly settings: string | null;
  process: PeerProcess | undefined;
  deaths: number;
}

/** How an order failed, in words for the report. */
export interface Failure {
  readonly kind: "failed" | "hung" | "died";
  readonly reason: string;
}

export class Run {
  readonly plan: Plan;
  readonly setting: Setting;
  readonly signal: AbortSignal;
  readonly warnings: string[] = [];
  readonly #began = performance.now();
  readonly #progress: (text: string) => void;
  readonly #processes = new Set<PeerProcess>();

  constructor(plan: Plan, setting: Setting, signal: AbortSignal, progress: (text: string) => void) {
    this.plan = plan;
    this.setting = setting;
    this.signal = signal;
    this.#progress = progress;
    signal.addEventListener("abort", () => {
      for (const process of this.#processes) process.interrupt();
    });
  }

  get elapsedMs(): number {
    return performance.now() - this.#began;
  }

  /** Says what is going on. @throws Interrupted */
  progress(text: string): void {
    if (this.signal.aborted) throw new Interrupted("interrupted");
    this.#progress(text);
  }

  /** A measuring process. `end()` it. */
  startProcess(peer: Peer, core?: number): PeerProcess {
    if (this.signal.aborted) throw new Interrupted("interrupted");
    const process = new PeerProcess({ peer: peer.name, setting: this.setting }, { core });
    this.#processes.add(process);
    return process;
  }

  async endProcess(process: PeerProcess): Promise<void> {
    await process.end();
    this.#processes.delete(process);
  }

  /** The peer's own process, started again if it ended. */
  processOf(contender: Contender): PeerProcess {
    if (contender.process === undefined || contender.process.hasEnded) {
      if (contender.deaths >= MOST_DEATHS) {
        throw new PeerFailed(`its host process ended ${contender.deaths} times; not tried again`, undefined);
      }
      if (contender.process !== undefined) this.#processes.delete(contender.process);
      contender.process = this.startProcess(contender.peer);
    }
    return contender.process;
  }

  /** An order to the peer's own process. @throws PeerProcessEnded, PeerFailed, Interrupted */
  async order<Op extends Order["op"]>(
    contender: Contender,
    order: Extract<Order, { op: Op }>,
    deadlineMs = this.plan.deadlineMs,
  ): Promise<Answers[Op]> {
    return this.processOf(contender).order<Op>(order, deadlineMs);
  }

  /** What an error of an order means. After a death: clears up what the process may have left. @throws what is no failure of the peer */
  async failure(error: unknown, contender: Contender): Promise<Failure> {
    if (this.signal.aborted) throw new Interrupted("interrupted");
    if (error instanceof PeerFailed) return { kind: "failed", reason: oneLine(error.message) };
    if (!(error instanceof PeerProcessEnded)) throw error;
    contender.deaths++;
    await this.sweep(contender.peer);
    return { kind: error.how === "hung" ? "hung" : "died", reason: oneLine(error.message) };
  }

  async sweep(peer: Peer): Promise<void> {
    try {
      await peer.sweep?.(this.setting);
    } catch (error) {
      this.warnings.push(`${peer.name}: what it left could not be cleared up: ${errorText(error)}`);
    }
  }

  /** Ends all processes. Afterwards nothing of the measurement runs. */
  async close(peers: readonly Peer[]): Promise<void> {
    await Promise.all([...this.#processes].map((process) => this.endProcess(process)));
    for (const peer of peers) await this.sweep(peer);
  }
}

/** A workload with what was built for it. */
export interface Task {
  readonly workload: Workload;
  readonly program: Program;
}
