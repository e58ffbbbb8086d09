/** Every way to use a port. The table: cases/ports.ts. */
import { portsTable } from "./cases/ports.ts";
import { hostileSuite } from "./run-hostile.ts";

hostileSuite(portsTable);
