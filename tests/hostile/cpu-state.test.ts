/** State of the processor that ring 3 may change. The table: cases/cpu-state.ts. */
import { cpuState } from "./cases/cpu-state.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(cpuState);
