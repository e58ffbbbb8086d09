/** Container engines of the benchmark: two peers may use the same one, as Docker and Kata do. */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { buildProgram, buildTools } from "../../bench/isolation/programs.ts";
import { allWorkloads } from "../../bench/isolation/registry.ts";
import { Unavailable } from "../../bench/peers/peer.ts";
import { peer as podman } from "../../bench/peers/podman.ts";
import { hasHybridCgroups } from "../../bench/peers/support/cgroups.ts";
import { daemonVersion, type Engine, prepareEngine, sweepEngine } from "../../bench/peers/support/engine.ts";
import { newFolder, newScript } from "../cli/support.ts";
import { announceSkip, soon } from "../support/environment.ts";

const scratch = newFolder();
const setting = await buildTools(scratch);
const nothing = (await allWorkloads()).find(({ name }) => name === "nothing");
if (nothing === undefined) throw new Error("there is no workload nothing");
const program = await buildProgram(nothing, setting, true);

/** Whether it really runs here: it may be installed and refused all the same. */
const problem = await podman
  .available(setting)
  .then(() => podman.prepare(program, setting))
  .then(async (prepared) => {
    await prepared.request();
    await prepared.dispose();
    return null;
  })
  .catch((error: unknown) => String(error));
if (problem !== null) announceSkip("container engines of the benchmark", problem);

afterAll(async () => {
  await podman.sweep?.(setting);
  rmSync(join(scratch, "podman"), { recursive: true, force: true });
});

describe("two peers of one engine", () => {
  const engineOf = (name: string): Engine => ({
    name,
    command: [
      ...["podman", "--root", join(scratch, "podman"), "--runroot", join(scratch, "podman-run")],
      ...["--log-level", "error", "--cgroup-manager", "cgroupfs"],
      ...(hasHybridCgroups() ? ["--runtime", "runc"] : []),
    ],
  });

  it.skipIf(problem !== null)(
    "clear up behind themselves alone",
    async () => {
      const [one, other] = [engineOf("one"), engineOf("other")];
      const swept = await prepareEngine(one, program, setting);
      const stays = await prepareEngine(other, program, setting);
      const letGo = await soon(
        "holding",
        stays.hold?.(1) ?? Promise.reject(new Error("it cannot be held")),
        60_000,
      );
      const kept = (): string => {
        const [path = "", ...options] = other.command;
        return execFileSync(path, [...options, "ps", "--format", "{{.Names}}"], { encoding: "utf8" });
      };
      const held = kept();
      expect(held).toMatch(/^barecell-bench-\S+\n$/);
      await sweepEngine(one);
      expect(kept()).toBe(held);
      await expect(soon("a request", swept.request(), 60_000)).rejects.toThrow();
      expect((await soon("a request", stays.request(), 60_000)).result).toBe(program.expected);
      await letGo();
      await stays.dispose();
      await swept.dispose();
    },
    150_000,
  );
});

describe("a daemon that does not answer", () => {
  it("is the reason, in its own words", () => {
    const engine = { name: "none", command: [newScript("echo 'Is the daemon running?' >&2; exit 1")] };
    expect(() => daemonVersion(engine, "start it")).toThrow(Unavailable);
    expect(() => daemonVersion(engine, "start it")).toThrow(/does not answer: Is the daemon running\?/);
  });
});
