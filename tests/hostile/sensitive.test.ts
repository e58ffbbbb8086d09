/** Instructions that tell a tenant something, or change state of its own. The table: cases/sensitive.ts. */
import { sensitive } from "./cases/sensitive.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(sensitive);
