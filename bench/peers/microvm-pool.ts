import { later } from "./support/later.ts";

export const peer = later(
  { name: "microvm-pool", title: "microVM, warm pool", order: 13, wall: "vm", isOwn: true },
  "pools, and resetting a VM to its pristine state are not in it",
);
