/** The guests of a soak run: the tables of tests/hostile, and one that only does what it should. */
import { cpuState } from "../hostile/cases/cpu-state.ts";
import { forgedSlots, rawLoops } from "../hostile/cases/host-calls.ts";
import { neighbours } from "../hostile/cases/neighbours.ts";
import { placesTable } from "../hostile/cases/places.ts";
import { portsTable } from "../hostile/cases/ports.ts";
import { privileged } from "../hostile/cases/privileged.ts";
import { sensitive } from "../hostile/cases/sensitive.ts";
import {
  DEFAULT_OPTIONS,
  type HostileCase,
  type HostileTable,
  NEIGHBOUR_RESULTS,
  rawHost,
} from "../hostile/hostile-case.ts";
import { assemble } from "../support/raw-code.ts";
import type { SoakGuest } from "./messages.ts";
import type { Random } from "./random.ts";

const TABLES: readonly HostileTable[] = [
  cpuState,
  forgedSlots,
  rawLoops,
  neighbours,
  placesTable,
  portsTable,
  privileged,
  sensitive,
];
/** Guests that may end by their deadline get a short one, or nothing else would ever run. */
const LOOP_MS = 25;
/** The others come to an end by themselves, however busy the machine is. */
const PATIENT_MS = 300_000;

/** The well-behaved one. */
export const GOOD_GUEST: SoakGuest = {
  name: "well-behaved",
  bytes: rawHost.image.bytes,
  expected: [NEIGHBOUR_RESULTS[1] as bigint],
  options: { ...DEFAULT_OPTIONS, timeoutMs: PATIENT_MS },
  callsHost: true,
};

interface Entry {
  readonly table: HostileTable;
  readonly one: HostileCase;
  readonly code: Uint8Array;
}

export class Guests {
  readonly #entries: readonly Entry[];

  constructor() {
    this.#entries = TABLES.flatMap((table) => {
      // What is expected of a case with calls of its own does not hold for a single call.
      const cases = table.cases.filter((one) => one.calls === undefined && one.predecessor === undefined);
      const code = assemble(new Map(cases.map((one) => [one.name, one.code])));
      return cases.map((one) => ({ table, one, code: code.get(one.name) as Uint8Array }));
    });
  }

  get count(): number {
    return this.#entries.length;
  }

  /** Some of them, as images. */
  choose(count: number, random: Random): SoakGuest[] {
    return Array.from({ length: count }, () => {
      const { table, one, code } = random.pick(this.#entries);
      const mayLoop = one.expected.includes("BARECELL_TIMEOUT");
      return {
        name: `${table.title}: ${one.name}`,
        bytes: table.host.withCode(code).bytes,
        expected: one.expected,
        options: { ...DEFAULT_OPTIONS, ...one.options, timeoutMs: mayLoop ? LOOP_MS : PATIENT_MS },
      };
    });
  }
}
