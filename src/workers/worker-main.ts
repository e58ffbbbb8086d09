/** The program of a worker process: a pool that its parent tells what to call. Not imported by anything; child_process.fork runs it. */
import { BarecellError } from "../errors.ts";
import { Image } from "../image/image.ts";
import { Keeper } from "../pool/keeper.ts";
import { checkPoolOptions, type PoolImage } from "../pool/options.ts";
import { metricsOf, PoolMember, type PoolMetrics } from "../pool/pool.ts";
import { addon } from "../vm/addon.ts";
import { Limits } from "../vm/limits.ts";
import { adoptImage } from "../vm/native-image.ts";
import { errorToMessage } from "./error-message.ts";
import { bootOptionsOf, loadHostModule } from "./host-module.ts";
import type { CallRequest, FromWorker, StartMessage, ToWorker } from "./messages.ts";
import { NO_METRICS } from "./worker-metrics.ts";

/** Between two reports of what the pool has, milliseconds. */
const REPORT_MS = 20;

/** What cannot be sent goes to a parent that is gone, and this process ends with it. */
function send(message: FromWorker): void {
  process.send?.(message, undefined, undefined, () => {});
}

class Server {
  readonly #keeper: Keeper;
  readonly #stops = new Map<number, AbortController>();
  readonly #answers = new Set<Promise<void>>();
  #report: NodeJS.Timeout | undefined;

  constructor(keeper: Keeper) {
    this.#keeper = keeper;
    keeper.watch(() => this.#reportSoon());
    this.becomeReady();
  }

  /** Tells when all VMs that are made ahead are there. */
  becomeReady(): void {
    this.#keeper.ready().then(
      () => this.#tell({ kind: "ready" }),
      (error: unknown) => this.#tell({ kind: "unready", error: errorToMessage(error) }),
    );
  }

  /** Wall-clock limit of each image's VMs, where a call states none. */
  get timeoutsMs(): Record<string, number> {
    const entries = this.#keeper.members.map(({ settings: { name, vm } }) => [
      name,
      Limits.of(vm).get("timeoutMs"),
    ]);
    // For the addon 0 is "none".
    return Object.fromEntries(entries.map(([name, ms]) => [name, ms === 0 ? Number.POSITIVE_INFINITY : ms]));
  }

  #tell(message: FromWorker): void {
    this.#reportNow();
    send(message);
  }

  #reportSoon(): void {
    this.#report ??= setTimeout(() => this.#reportNow(), REPORT_MS).unref();
  }

  #reportNow(): void {
    clearTimeout(this.#report);
    this.#report = undefined;
    const metrics: Record<string, PoolMetrics> = {};
    for (const member of this.#keeper.members) metrics[member.settings.name] = metricsOf(member);
    send({ kind: "state", metrics });
  }

  answer(request: CallRequest): void {
    const answer = this.#answer(request).finally(() => this.#answers.delete(answer));
    this.#answers.add(answer);
  }

  async #answer(request: CallRequest): Promise<void> {
    const { id, image } = request;
    const member = this.#keeper.members.find(({ settings }) => settings.name === image);
    const metrics = (): PoolMetrics => (member === undefined ? NO_METRICS : metricsOf(member));
    const stop = new AbortController();
    this.#stops.set(id, stop);
    try {
      const value = await this.#perform(request, stop.signal);
      send({ kind: "result", id, value, metrics: metrics() });
    } catch (error) {
      send({ kind: "error", id, error: errorToMessage(error), metrics: metrics() });
    } finally {
      this.#stops.delete(id);
      this.#reportSoon();
    }
  }

  async #perform({ image, name, args, options, waitMs }: CallRequest, signal: AbortSignal): Promise<unknown> {
    const tooLate = new AbortController();
    const timer =
      waitMs === Number.POSITIVE_INFINITY
        ? undefined
        : setTimeout(() => tooLate.abort(), Math.min(waitMs, 2 ** 31 - 1));
    try {
      return await new PoolMember(this.#keeper, image).use(
        (vm) => {
          clearTimeout(timer);
          if (args instanceof Uint8Array) return vm.callBytes(name, args, { ...options, signal });
          return vm.call(name, ...args, ...(options === null ? [] : [{ ...options, signal }]));
        },
        { signal: AbortSignal.any([signal, tooLate.signal]) },
      );
    } catch (error) {
      if (!tooLate.signal.aborted) throw error;
      throw new BarecellError("BARECELL_POOL_TIMEOUT", "no VM came free within queueTimeoutMs");
    } finally {
      clearTimeout(timer);
    }
  }

  cancel(id: number): void {
    this.#stops.get(id)?.abort();
  }

  async close(): Promise<void> {
    await this.#keeper.close();
    // A VM comes back before its call's answer is on its way.
    await Promise.all(this.#answers);
    process.send?.({ kind: "pong" } satisfies FromWorker, undefined, undefined, () => process.exit(0));
  }
}

async function start(message: StartMessage): Promise<Server> {
  if (!addon().endWithParent(message.parentPid)) process.exit(0);
  const hostModule = message.hostModule === null ? undefined : await loadHostModule(message.hostModule);
  const images: Record<string, PoolImage> = {};
  for (const { name, bytes, fd, min, vm } of message.images) {
    const image = Image.fromBytes(bytes);
    adoptImage(image, fd);
    images[name] = { image, min, vm: { ...(await bootOptionsOf(hostModule, name)), ...vm } };
  }
  const { max, idleMs, memoryBudgetBytes } = message;
  const options = checkPoolOptions(images, {
    max,
    idleMs,
    // The parent's queue is the one that counts; it sends no more calls than there may be VMs.
    queueLimit: max,
    queueTimeoutMs: Number.POSITIVE_INFINITY,
    ...(memoryBudgetBytes === null ? {} : { memoryBudgetBytes }),
  });
  return new Server(new Keeper(options));
}

async function take(starting: { server?: Promise<Server> }, message: ToWorker): Promise<void> {
  switch (message.kind) {
    case "start":
      starting.server = start(message);
      try {
        await starting.server;
      } catch (error) {
        // After the message has left; the parent ends what takes no calls.
        process.send?.({ kind: "failed", error: errorToMessage(error) }, undefined, undefined, () =>
          process.exit(1),
        );
        return;
      }
      send({ kind: "up", timeoutsMs: (await starting.server).timeoutsMs });
      return;
    case "ping":
      send({ kind: "pong" });
      return;
    case "call":
      (await starting.server)?.answer(message);
      return;
    case "ready":
      (await starting.server)?.becomeReady();
      return;
    case "cancel":
      (await starting.server)?.cancel(message.id);
      return;
    case "close":
      await (await starting.server)?.close();
  }
}

// Signals that a terminal or a service manager sends to all processes of a group are for the parent to answer. The kernel ends this process with the parent
// in any case (endWithParent); the end of the channel is the gentle way.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));
const starting: { server?: Promise<Server> } = {};
process.on("message", (message: ToWorker) => void take(starting, message));
