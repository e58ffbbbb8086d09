/** All scenarios, in the order they run. */
import type { Scenario } from "../scenario.ts";
import { coldDirect } from "./cold-direct.ts";
import { coldStaged } from "./cold-staged.ts";
import { compileModules } from "./compile.ts";
import { compute } from "./compute.ts";
import { exits } from "./exits.ts";
import { hostCall } from "./host-call.ts";
import { warmAsync, warmSync } from "./warm.ts";

export const SCENARIOS: readonly Scenario[] = [
  coldStaged,
  coldDirect,
  warmSync,
  warmAsync,
  hostCall,
  exits,
  compute,
  compileModules,
];
