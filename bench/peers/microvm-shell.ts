import { later } from "./support/later.ts";

export const peer = later(
  { name: "microvm-shell", title: "microVM, shell ahead", order: 12, wall: "vm", isOwn: true },
  "VMs that are made before anybody knows for which image are not in it",
);
