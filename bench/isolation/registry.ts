/** All peers and workloads: what lies in their folders. A new one is a new file, and nothing else. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Peer, WALLS } from "../peers/peer.ts";
import type { Workload } from "../workloads/workload.ts";

/** Not what they look like: no peers, no workloads. */
const OTHERS = ["peer", "workload", "faults"];

const PEERS = new URL("../peers/", import.meta.url);
const WORKLOADS = new URL("../workloads/", import.meta.url);

function filesIn(place: URL): string[] {
  return readdirSync(fileURLToPath(place))
    .filter((name) => /\.[jt]s$/.test(name) && !name.endsWith(".d.ts"))
    .filter((name) => !OTHERS.includes(stem(name)))
    .sort();
}

const stem = (name: string): string => name.replace(/\.[jt]s$/, "");

async function peerIn(file: string): Promise<Peer> {
  const { peer } = (await import(new URL(file, PEERS).href)) as { readonly peer: Peer };
  if (peer.name !== stem(file)) throw new Error(`the peer of ${file} must have its name, not ${peer.name}`);
  return peer;
}

/** Only this one: a measuring process needs no other, and starts sooner. */
export async function onePeer(name: string): Promise<Peer> {
  const file = filesIn(PEERS).find((candidate) => stem(candidate) === name);
  if (file === undefined) throw new Error(`no such peer: ${name}`);
  return peerIn(file);
}

/** From no wall to most. */
export async function allPeers(): Promise<readonly Peer[]> {
  const peers = await Promise.all(filesIn(PEERS).map(peerIn));
  const walls = Object.keys(WALLS);
  return peers.sort((a, b) => walls.indexOf(a.wall) - walls.indexOf(b.wall) || a.order - b.order);
}

export async function allWorkloads(): Promise<readonly Workload[]> {
  const modules = await Promise.all(
    filesIn(WORKLOADS).map(
      (file) => import(new URL(file, WORKLOADS).href) as Promise<{ readonly workloads: readonly Workload[] }>,
    ),
  );
  return modules.flatMap(({ workloads }) => workloads).sort((a, b) => a.order - b.order);
}
