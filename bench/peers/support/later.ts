/** Ways that this version cannot measure. They are listed with the reason, so that nobody takes them for forgotten. */
import { type Peer, Unavailable } from "../peer.ts";

/** @param what is missing, in one sentence */
export function later(
  peer: Omit<Peer, "available" | "prepare" | "includes" | "leavesOut">,
  what: string,
): Peer {
  const refuse = async (): Promise<never> => {
    throw new Unavailable(`not yet available in this version: ${what}`, "a later version of barecell");
  };
  return { ...peer, includes: "–", leavesOut: "–", available: refuse, prepare: refuse };
}
