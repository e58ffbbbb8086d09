import { later } from "./support/later.ts";

export const peer = later(
  { name: "firecracker", title: "Firecracker", order: 1, wall: "vm" },
  "it needs a guest kernel and a root file system, which would have to be fetched and built first",
);
