/**
 * Where a generator's decisions come from: a seeded stream of numbers that is written down, or a list that was written down before. The
 * reducer shrinks the list and generates again, so that whatever it tries is a valid module. A generator must therefore give each
 * decision its simplest outcome at 0, and end when every further decision is 0.
 */

/** xoshiro128** by Blackman and Vigna, seeded by splitmix32: small, fast, and the same everywhere. */
export class Random {
  readonly #state: Uint32Array;

  constructor(seed: number) {
    let s = seed >>> 0;
    this.#state = Uint32Array.from({ length: 4 }, () => {
      s = (s + 0x9e3779b9) >>> 0;
      let z = s;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    });
  }

  u32(): number {
    const s = this.#state;
    const [a = 0, b = 0, c = 0, d = 0] = s;
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    s[2] = c ^ a;
    s[3] = d ^ b;
    s[1] = b ^ (s[2] ?? 0);
    s[0] = a ^ (s[3] ?? 0);
    s[2] = (s[2] ?? 0) ^ (b << 9);
    s[3] = rotate(s[3] ?? 0, 11);
    return result;
  }

  /** A number from 0 to `count` - 1. The bias of the remainder is far below what matters here. */
  below(count: number): number {
    return this.u32() % count;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() & 0xff);
  }
}

const rotate = (value: number, by: number): number => (value << by) | (value >>> (32 - by));

/** A different stream for each purpose, so that a change to one does not shift all the others. */
export function deriveSeed(seed: number, purpose: string): number {
  let hash = seed >>> 0;
  for (const char of purpose) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0;
  return new Random(hash).u32();
}

export class Choices {
  readonly #random: Random | undefined;
  readonly #given: readonly number[];
  /** What was decided. */
  readonly made: number[] = [];

  private constructor(random: Random | undefined, given: readonly number[]) {
    this.#random = random;
    this.#given = given;
  }

  static ofSeed(seed: number): Choices {
    return new Choices(new Random(seed), []);
  }

  /** Past the end of the list every decision is 0. */
  static replay(list: readonly number[]): Choices {
    return new Choices(undefined, list);
  }

  /** From 0 to `count` - 1. */
  below(count: number): number {
    const next = this.#random ? this.#random.u32() : (this.#given[this.made.length] ?? 0);
    const value = this.#random ? next % count : Math.min(next, count - 1);
    this.made.push(value);
    return value;
  }

  /** True in one of `n` cases. */
  oneIn(n: number): boolean {
    return this.below(n) === n - 1;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  /** One of the options by weight; the first is the one that reduction goes to. */
  weighted<T>(options: readonly (readonly [number, T])[]): T {
    const total = options.reduce((sum, [weight]) => sum + weight, 0);
    let at = this.below(total);
    for (const [weight, item] of options) {
      if (at < weight) return item;
      at -= weight;
    }
    throw new Error("no option has a weight");
  }

  bits(size: 32 | 64 | 128): bigint {
    let value = 0n;
    for (let done = 0; done < size; done += 32) value = (value << 32n) | BigInt(this.below(2 ** 32));
    return value;
  }
}

/** Decisions by the name of their stream. */
export type Decisions = Readonly<Record<string, readonly number[]>>;

/** A stream of decisions for each part of what is made, so that one part can shrink without shifting the decisions of the others. */
export class Streams {
  readonly #open: (name: string) => Choices;
  readonly #streams = new Map<string, Choices>();

  private constructor(open: (name: string) => Choices) {
    this.#open = open;
  }

  static ofSeed(seed: number): Streams {
    return new Streams((name) => Choices.ofSeed(deriveSeed(seed, name)));
  }

  static replay(decisions: Decisions): Streams {
    return new Streams((name) => Choices.replay(decisions[name] ?? []));
  }

  stream(name: string): Choices {
    let choices = this.#streams.get(name);
    if (!choices) {
      choices = this.#open(name);
      this.#streams.set(name, choices);
    }
    return choices;
  }

  get made(): Decisions {
    return Object.fromEntries([...this.#streams].map(([name, { made }]) => [name, made]));
  }
}
