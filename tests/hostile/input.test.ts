/** Forged accounts of input that was given ahead. The table: cases/input.ts. */
import { forgedInput } from "./cases/input.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(forgedInput);
