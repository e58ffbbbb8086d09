import { later } from "./support/later.ts";

export const peer = later(
  { name: "microvm-snapshot", title: "microVM, restored snapshot", order: 14, wall: "vm", isOwn: true },
  "snapshots are not in it",
);
