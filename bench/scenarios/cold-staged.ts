import { measureColdBoot } from "../cold-boot.ts";
import type { Scenario } from "../scenario.ts";

export const coldStaged: Scenario = {
  name: "cold-staged",
  title: "no VM yet -> boot from real mode to ring 3 -> result of one call",
  measure: (settings) => measureColdBoot(settings, "staged"),
};
