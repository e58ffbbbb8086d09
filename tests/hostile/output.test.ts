/** Forged logs of kept output. The table: cases/output.ts. */
import { forgedOutput } from "./cases/output.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(forgedOutput);
