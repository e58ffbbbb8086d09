/** Shrinks the decisions that a unit of the own generator was made from, and makes it again: every candidate is a valid unit. */
import type { Decisions } from "../generator/choices.ts";
import type { Difference } from "../harness/compare.ts";
import { replayedUnit } from "../harness/make-unit.ts";
import type { Unit } from "../harness/unit.ts";
import type { Search } from "./search.ts";

interface Best {
  readonly decisions: Decisions;
  readonly unit: Unit;
  readonly difference: Difference;
}

/** Where a pass is: a stream, a place in it, how many decisions at once. */
interface Place {
  readonly stream: string;
  readonly at: number;
  readonly size: number;
}

type Change = (list: readonly number[], at: number, size: number) => readonly number[];

const without: Change = (list, at, size) => [...list.slice(0, at), ...list.slice(at + size)];

const zeroed: Change = (list, at, size) => list.map((value, i) => (i >= at && i < at + size ? 0 : value));

/** Smaller numbers are simpler outcomes. */
const halved: Change = (list, at, size) =>
  list.map((value, i) => (i >= at && i < at + size ? value >>> 1 : value));

/** Into how many parts a stream is cut at last; what is finer than that is quicker done in the module itself. */
const FINEST = 64;

export async function reduceDecisions(
  search: Search,
  origin: string,
  decisions: Decisions,
  difference: Difference,
): Promise<{ unit: Unit; difference: Difference } | undefined> {
  const start: Best = { decisions, difference, unit: replayedUnit(origin, decisions).unit };
  let best = start;
  // Whole streams first (functions, the library), then halves, quarters and so on.
  for (let parts = 1; parts <= FINEST && !search.isOver; parts *= 2) {
    for (const change of [without, zeroed]) best = await pass(search, origin, best, change, parts);
  }
  best = await pass(search, origin, best, halved, FINEST);
  return best === start ? undefined : best;
}

const countOf = (decisions: Decisions): number =>
  Object.values(decisions).reduce((sum, list) => sum + list.length, 0);

async function pass(
  search: Search,
  origin: string,
  start: Best,
  change: Change,
  parts: number,
): Promise<Best> {
  let best = start;
  let from: Place | undefined;
  for (;;) {
    const places = placesOf(best.decisions, parts, from);
    const result = await search.first(best.difference, candidates(origin, best, change, places));
    if (!result) return best;
    best = { decisions: result.item.decisions, unit: result.unit, difference: result.difference };
    from = result.item.place;
    search.onProgress(`${countOf(best.decisions)} decisions`);
  }
}

/** All places of a pass, from the one that led on last. */
function placesOf(decisions: Decisions, parts: number, from: Place | undefined): Place[] {
  const places = Object.entries(decisions).flatMap(([stream, list]) => {
    const size = Math.ceil(list.length / parts);
    return size === 0
      ? []
      : Array.from({ length: Math.ceil(list.length / size) }, (_, i) => ({ stream, at: i * size, size }));
  });
  if (!from) return places;
  const order = Object.keys(decisions);
  const reached = order.indexOf(from.stream);
  return places.filter(({ stream, at }) => {
    const index = order.indexOf(stream);
    return index > reached || (index === reached && at >= from.at);
  });
}

function* candidates(
  origin: string,
  best: Best,
  change: Change,
  places: readonly Place[],
): Generator<{ item: { decisions: Decisions; place: Place }; unit: Unit }> {
  for (const place of places) {
    const { stream, at, size } = place;
    const list = best.decisions[stream] ?? [];
    const changed = change(list, at, size);
    if (changed.length === list.length && changed.every((value, i) => value === list[i])) continue;
    const made = replayedUnit(origin, { ...best.decisions, [stream]: changed });
    // Another outcome may ask for more decisions than before; those are all zero, and simple.
    yield { item: { decisions: made.decisions, place }, unit: made.unit };
  }
}
