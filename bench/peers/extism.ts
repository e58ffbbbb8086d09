import { later } from "./support/later.ts";

export const peer = later(
  { name: "extism", title: "Extism", order: 2, wall: "language" },
  "its plug-ins have an interface of their own, for which the workloads would have to be built again",
);
