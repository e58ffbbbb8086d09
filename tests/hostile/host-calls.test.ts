/** Host calls with any arguments, and raw code that never ends. The table: cases/host-calls.ts. */
import { forgedSlots, rawLoops } from "./cases/host-calls.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(forgedSlots);
hostileSuite(rawLoops);
