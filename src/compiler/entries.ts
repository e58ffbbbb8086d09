/**
 * The list of what the host can call in the guest: exported functions, reading and writing of exported globals, instantiation of a module. The glue makes
 * a C function for each, the manifest says which is which.
 */
import type { LinkUnit } from "./linker.ts";

export type Entry =
  | { readonly kind: "call" | "get" | "set"; readonly module: number; readonly exportIndex: number }
  | { readonly kind: "instantiate"; readonly module: number };

export class EntryList {
  readonly list: readonly Entry[];
  readonly #places = new Map<string, number>();

  /** @param onDemand whether the host instantiates the modules one by one; otherwise booting does */
  constructor(units: readonly LinkUnit[], onDemand: boolean) {
    const list: Entry[] = [];
    units.forEach(({ info }, module) => {
      if (onDemand) list.push({ kind: "instantiate", module });
      info.exports.forEach((entry, exportIndex) => {
        if (entry.kind === "func") list.push({ kind: "call", module, exportIndex });
        if (entry.kind !== "global") return;
        list.push({ kind: "get", module, exportIndex });
        if (info.globals[entry.index]?.mutable) list.push({ kind: "set", module, exportIndex });
      });
    });
    list.forEach((entry, place) => {
      this.#places.set(keyOf(entry), place);
    });
    this.list = list;
  }

  /** The place of an entry in the list. */
  placeOf(entry: Entry): number | undefined {
    return this.#places.get(keyOf(entry));
  }
}

const keyOf = (entry: Entry): string =>
  `${entry.kind} ${entry.module} ${entry.kind === "instantiate" ? "" : entry.exportIndex}`;
