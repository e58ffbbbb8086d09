import { later } from "./support/later.ts";

export const peer = later(
  { name: "kata", title: "Kata Containers", order: 2, wall: "vm" },
  "it is driven through containerd, whose images and namespaces would have to be set up first",
);
