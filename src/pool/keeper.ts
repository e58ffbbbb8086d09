/** Makes, hands out, cleans and ends the VMs of a pool. */
import { availableParallelism } from "node:os";
import { BarecellError } from "../errors.ts";
import { MicroVM } from "../vm/micro-vm.ts";
import type { Member } from "./member.ts";
import type { CheckedPoolOptions } from "./options.ts";
import { cancelledWaiting } from "./queue.ts";
import { Roster } from "./roster.ts";

/** Boots at once of VMs that nobody waits for: each takes a vCPU thread, which then stays, and more at once are no faster. */
const REFILLS_AT_ONCE = availableParallelism();

export class Keeper {
  readonly #options: CheckedPoolOptions;
  readonly #roster: Roster;
  readonly #leaving = new Set<Promise<void>>();
  #idleTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #onChange: (() => void)[] = [];
  #watcher: (() => void) | undefined;

  constructor(options: CheckedPoolOptions) {
    this.#options = options;
    this.#roster = new Roster(options);
    for (const member of this.#roster.members) this.#refill(member);
  }

  get members(): readonly Member[] {
    return this.#roster.members;
  }

  /** Calls `watcher` whenever a VM became ready, failed to, or goes. */
  watch(watcher: () => void): void {
    this.#watcher = watcher;
  }

  /** @throws BARECELL_POOL_CLOSED, BARECELL_ARGUMENT_INVALID */
  member(name: string | undefined): Member {
    if (this.#isClosed) throw closed();
    return this.#roster.find(name);
  }

  /** @throws what keeps a VM from booting */
  async ready(): Promise<void> {
    for (const member of this.#roster.members) {
      while (!this.#isClosed && member.ready.length + member.running < member.settings.min) {
        if (member.coming === 0) await this.#boot(member);
        else await this.#change();
      }
    }
  }

  /** A pristine VM, which is to be given back. Waits where there is none. */
  async take(member: Member, signal: AbortSignal | undefined): Promise<MicroVM> {
    const ready = this.#takeReady(member);
    if (ready !== undefined) return ready;
    if (signal?.aborted) throw cancelledWaiting(signal);
    const waiting = member.queue.wait(signal);
    this.#makeVmsFor(member);
    return waiting;
  }

  /** The same on the calling thread, which waits for nobody. */
  takeSync(member: Member): MicroVM {
    return this.#takeReady(member) ?? this.#cleanHere(member) ?? this.#bootHere(member);
  }

  #takeReady(member: Member): MicroVM | undefined {
    // Who waits was first.
    if (member.queue.length > 0) return undefined;
    const taken = member.ready.pop();
    if (taken === undefined) return undefined;
    member.counts.hits++;
    this.#begin(member);
    // Behind the caller, who has what it wants.
    if (member.ready.length + member.coming < member.settings.min) setImmediate(() => this.#refill(member));
    return taken.vm;
  }

  #begin(member: Member): void {
    member.running++;
    member.counts.calls++;
    this.#roster.wasServed(member);
  }

  #cleanHere(member: Member): MicroVM | undefined {
    for (const vm of member.used) {
      member.used.delete(vm);
      try {
        vm.resetSync();
      } catch {
        member.counts.resetFailures++;
        this.#retire(member, vm);
        continue;
      }
      member.counts.resets++;
      member.counts.cleanedByCaller++;
      this.#begin(member);
      return vm;
    }
    return undefined;
  }

  #bootHere(member: Member): MicroVM {
    if (!this.#makeRoom(member)) {
      throw new BarecellError(
        "BARECELL_POOL_FULL",
        `all VMs that the pool may have (max ${this.#options.max}) are in use, and a synchronous call cannot wait`,
      );
    }
    const vm = MicroVM.bootSync(member.settings.image, member.settings.vm);
    member.counts.boots++;
    this.#begin(member);
    return vm;
  }

  giveBack(member: Member, vm: MicroVM): void {
    member.running--;
    if (this.#isClosed || vm.state === "disposed") {
      this.#retire(member, vm);
      this.#changed();
      return;
    }
    member.used.add(vm);
    // After the answer: what the caller does next comes before this.
    setImmediate(() => {
      if (member.used.delete(vm)) void this.#clean(member, vm);
    });
  }

  async #clean(member: Member, vm: MicroVM): Promise<void> {
    member.cleaning++;
    try {
      await vm.reset();
    } catch {
      member.cleaning--;
      member.counts.resetFailures++;
      this.#retire(member, vm);
      this.#refill(member);
      this.#changed();
      return;
    }
    member.cleaning--;
    member.counts.resets++;
    this.#becameReady(member, vm);
  }

  #becameReady(member: Member, vm: MicroVM): void {
    if (this.#isClosed) {
      this.#retire(member, vm);
      this.#changed();
      return;
    }
    member.inHand++;
    const poorer = this.#roster.poorerThan(member);
    member.inHand--;
    if (poorer !== undefined) {
      this.#retire(member, vm);
      this.#startBoot(poorer);
      return;
    }
    const first = member.queue.first();
    if (first === undefined) {
      member.ready.push({ vm, since: performance.now() });
      this.#watchIdle();
      this.#changed();
      return;
    }
    this.#begin(member);
    first.resolve(vm);
    this.#changed();
  }

  /** Boots VMs for the calls that wait, as far as there is room, or others have VMs that nobody uses. */
  #makeVmsFor(member: Member): void {
    while (member.queue.length > member.coming + member.ready.length && this.#makeRoom(member)) {
      this.#startBoot(member);
    }
  }

  #makeRoom(member: Member): boolean {
    while (!this.#roster.hasRoomFor(member)) {
      const victim = this.#roster.richestBut(member);
      const taken = victim?.ready.shift();
      if (victim === undefined || taken === undefined) return false;
      this.#retire(victim, taken.vm);
    }
    return true;
  }

  #refill(member: Member): void {
    const { min } = member.settings;
    while (
      !this.#isClosed &&
      member.booting < REFILLS_AT_ONCE &&
      member.ready.length + member.coming < min &&
      member.vms < this.#options.max &&
      this.#roster.hasRoomFor(member)
    ) {
      this.#startBoot(member);
    }
  }

  #startBoot(member: Member): void {
    // Nobody waits for a refill, and the next call tries again.
    this.#boot(member).catch(() => this.#changed());
  }

  async #boot(member: Member): Promise<void> {
    member.booting++;
    let vm: MicroVM;
    try {
      vm = await MicroVM.boot(member.settings.image, member.settings.vm);
    } catch (error) {
      member.counts.bootFailures++;
      // Who waits longest learns why, before others look how many wait for how many that come.
      member.queue.first()?.reject(error);
      member.booting--;
      throw error;
    }
    member.booting--;
    member.counts.boots++;
    this.#becameReady(member, vm);
    this.#refill(member);
  }

  #retire(member: Member, vm: MicroVM): void {
    member.counts.retired++;
    this.#watcher?.();
    const gone = vm[Symbol.asyncDispose]().finally(() => this.#leaving.delete(gone));
    this.#leaving.add(gone);
  }

  /** Something came free, or became ready. */
  #changed(): void {
    this.#watcher?.();
    for (const tell of this.#onChange.splice(0)) tell();
    if (this.#isClosed) return;
    for (const member of this.#roster.waiting) this.#makeVmsFor(member);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#onChange.push(resolve));
  }

  /** One timer for all VMs. */
  #watchIdle(): void {
    const { idleMs } = this.#options;
    if (this.#idleTimer !== undefined || idleMs === Number.POSITIVE_INFINITY || this.#isClosed) return;
    if (!this.#roster.members.some(({ ready, settings }) => ready.length > settings.min)) return;
    const pause = Math.min(Math.max(1, idleMs / 2), 2 ** 31 - 1);
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = undefined;
      this.#retireIdle(performance.now() - idleMs);
      this.#watchIdle();
    }, pause);
    this.#idleTimer.unref();
  }

  #retireIdle(before: number): void {
    for (const member of this.#roster.members) {
      // The first have been ready longest, since the last are taken first.
      for (let first = member.ready[0]; first !== undefined; first = member.ready[0]) {
        if (member.ready.length <= member.settings.min || first.since > before) break;
        member.ready.shift();
        this.#retire(member, first.vm);
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#idleTimer);
    for (const member of this.#roster.members) {
      member.queue.rejectAll(closed);
      for (const { vm } of member.ready.splice(0)) this.#retire(member, vm);
      for (const vm of member.used) this.#retire(member, vm);
      member.used.clear();
    }
    while (!this.#roster.isEmpty) await this.#change();
    await Promise.all(this.#leaving);
  }
}

function closed(): BarecellError {
  return new BarecellError("BARECELL_POOL_CLOSED", "the pool is closed");
}
