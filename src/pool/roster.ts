/** Which VMs a pool has, for which images, and who gets the next one. Counts only: it makes and ends nothing. */
import { BarecellError } from "../errors.ts";
import type { MicroVM } from "../vm/micro-vm.ts";
import { Member } from "./member.ts";
import type { CheckedPoolOptions } from "./options.ts";
import { QueueBudget, WaitingQueue } from "./queue.ts";

export class Roster {
  readonly #options: CheckedPoolOptions;
  readonly #members: ReadonlyMap<string, Member>;
  #turn = 0;
  readonly #served = new Map<Member, number>();

  constructor(options: CheckedPoolOptions) {
    this.#options = options;
    const queued = new QueueBudget();
    this.#members = new Map(
      options.images.map((settings) => [
        settings.name,
        new Member(settings, new WaitingQueue<MicroVM>(options, queued)),
      ]),
    );
  }

  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  /** @throws BARECELL_ARGUMENT_INVALID if there is none of that name, or several and no name */
  find(name: string | undefined): Member {
    const member =
      name === undefined && this.#members.size === 1 ? this.members[0] : this.#members.get(name ?? "");
    if (member !== undefined) return member;
    const names = [...this.#members.keys()].slice(0, 12).join(", ");
    throw new BarecellError(
      "BARECELL_ARGUMENT_INVALID",
      name === undefined
        ? `the pool has several images; name one: pool.image("…").call(…). There are: ${names}`
        : `the pool has no image '${String(name)}'; it has: ${names}`,
    );
  }

  /** A call of this image got a VM: the others come first now. */
  wasServed(member: Member): void {
    this.#served.set(member, ++this.#turn);
  }

  /** Images with calls that wait, the one that waited longest for its turn first. */
  get waiting(): readonly Member[] {
    return this.#byTurn(this.members.filter(({ queue }) => queue.length > 0));
  }

  #byTurn(members: readonly Member[]): readonly Member[] {
    return members.toSorted((a, b) => this.#turnOf(a) - this.#turnOf(b));
  }

  #turnOf(member: Member): number {
    return this.#served.get(member) ?? 0;
  }

  get isEmpty(): boolean {
    return this.#total() === 0;
  }

  /** Whether one more VM of this image may be made. */
  hasRoomFor(member: Member): boolean {
    return this.#total() < this.#options.max && this.#fits(member.settings.mostBytes);
  }

  /** The image that has most VMs which nobody uses, other than this one. */
  richestBut(member: Member): Member | undefined {
    return this.members
      .filter((other) => other !== member && other.ready.length > 0)
      .toSorted((a, b) => b.ready.length - a.ready.length)[0];
  }

  /** An image that has calls waiting and less than its share of the VMs, and may have one in place of this image's, which has more than its own share. */
  poorerThan(member: Member): Member | undefined {
    const demanding = this.members.filter((other) => other !== member && other.queue.length > other.coming);
    if (demanding.length === 0 || this.hasRoomFor(demanding[0] as Member)) return undefined;
    const share = Math.floor(this.#options.max / (demanding.length + (member.queue.length > 0 ? 1 : 0)));
    return this.#byTurn(demanding).find((other) => {
      // Its turn has to be due: what was just made for one image would else be given to the next, before it served anybody.
      if (this.#turnOf(other) >= this.#turnOf(member)) return false;
      const isPoor = other.vms < Math.max(1, share) && (member.vms > share || other.vms === 0);
      return isPoor && this.#fits(other.settings.mostBytes - member.settings.mostBytes);
    });
  }

  #total(): number {
    return this.members.reduce((sum, { vms }) => sum + vms, 0);
  }

  #fits(moreBytes: number): boolean {
    const bytes = this.members.reduce((sum, { vms, settings }) => sum + vms * settings.mostBytes, 0);
    return bytes + moreBytes <= this.#options.memoryBudgetBytes;
  }
}
