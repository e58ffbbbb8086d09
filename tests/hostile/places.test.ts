/** Jumps, reads, writes and stacks where a tenant has no business. The table: cases/places.ts. */
import { placesTable } from "./cases/places.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(placesTable);
