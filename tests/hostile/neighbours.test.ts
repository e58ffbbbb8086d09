/** What one tenant finds of another's in the processor. The table: cases/neighbours.ts. */
import { neighbours } from "./cases/neighbours.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(neighbours);
