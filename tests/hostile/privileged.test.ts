/** Instructions that only ring 0 may execute, and those that only tell a tenant something. The table: cases/privileged.ts. */
import { privileged } from "./cases/privileged.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(privileged);
