import { measureColdBoot } from "../cold-boot.ts";
import type { Scenario } from "../scenario.ts";
import { addSubject } from "../subject.ts";

export const coldStaged: Scenario = {
  name: "cold-staged",
  title: "no VM yet -> boot from real mode to ring 3 -> result of one call",
  measure: async (settings) => measureColdBoot(settings, "staged", await addSubject(settings)),
};
