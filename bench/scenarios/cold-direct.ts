import { measureColdBoot } from "../cold-boot.ts";
import type { Scenario } from "../scenario.ts";
import { addSubject } from "../subject.ts";

export const coldDirect: Scenario = {
  name: "cold-direct",
  title: "no VM yet -> boot straight into ring 3 -> result of one call",
  measure: async (settings) => measureColdBoot(settings, "direct", await addSubject(settings)),
};
