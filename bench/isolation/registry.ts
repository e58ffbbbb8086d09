/** All peers and workloads: what lies in their folders. A new one is a new file, and nothing else. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Peer, WALLS } from "../peers/peer.ts";
import type { Workload } from "../workloads/workload.ts";

/** Not what they look like: no peers, no workloads. */
const OTHERS = ["peer", "workload", "faults"];

async function modulesIn<T>(folder: string): Promise<T[]> {
  const place = new URL(folder, import.meta.url);
  const files = readdirSync(fileURLToPath(place))
    .filter((name) => /\.[jt]s$/.test(name) && !name.endsWith(".d.ts"))
    .filter((name) => !OTHERS.includes(name.replace(/\.[jt]s$/, "")))
    .sort();
  return Promise.all(files.map((name) => import(new URL(name, place).href) as Promise<T>));
}

/** From no wall to most. */
export async function allPeers(): Promise<readonly Peer[]> {
  const modules = await modulesIn<{ readonly peer: Peer }>("../peers/");
  const walls = Object.keys(WALLS);
  return modules
    .map(({ peer }) => peer)
    .sort((a, b) => walls.indexOf(a.wall) - walls.indexOf(b.wall) || a.order - b.order);
}

export async function allWorkloads(): Promise<readonly Workload[]> {
  const modules = await modulesIn<{ readonly workloads: readonly Workload[] }>("../workloads/");
  return modules.flatMap(({ workloads }) => workloads).sort((a, b) => a.order - b.order);
}
