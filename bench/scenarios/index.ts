/** All scenarios, in the order they run. */
import type { Scenario } from "../scenario.ts";
import { coldDirect } from "./cold-direct.ts";
import { coldStaged } from "./cold-staged.ts";
import { compileModules } from "./compile.ts";
import { compileLarge } from "./compile-large.ts";
import { compute } from "./compute.ts";
import { density } from "./density.ts";
import { exits } from "./exits.ts";
import { floor } from "./floor.ts";
import { hostCall } from "./host-call.ts";
import { pooled } from "./pooled.ts";
import { programs } from "./programs.ts";
import { restore } from "./restore.ts";
import { scale } from "./scale.ts";
import { throughput } from "./throughput.ts";
import { warmAsync, warmSync } from "./warm.ts";

export const SCENARIOS: readonly Scenario[] = [
  floor,
  coldStaged,
  coldDirect,
  restore,
  warmSync,
  warmAsync,
  pooled,
  throughput,
  scale,
  density,
  hostCall,
  exits,
  compute,
  programs,
  compileModules,
  compileLarge,
];
