/** A process for each request, as a program in Node starts one. */
import { spawn } from "node:child_process";
import { type Peer, type Prepared, type Program, type Sample, Stopped } from "./peer.ts";
import { nowUs } from "./support/clock.ts";
import { native } from "./support/native.ts";

interface Running {
  /** The first line and what follows it, when all of it is there. */
  readonly answer: Promise<{ result: number; output: Uint8Array; beganUs: number }>;
  readonly ended: Promise<string>;
  /** Lets one that holds go. */
  end(): void;
  kill(): void;
}

function start(program: Program, mode: "run" | "hold"): Running {
  const words = [String(program.n), String(program.input?.length ?? 0), mode];
  const child = spawn(program.programPath ?? "", words, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => {
    // It ended before it read its input; its status says so.
  });
  if (program.input !== null) child.stdin.write(program.input);
  if (mode === "run") child.stdin.end();
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (status, signal) => resolve(signal ?? `exit status ${status}`));
  });
  const answer = new Promise<{ result: number; output: Uint8Array; beganUs: number }>((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    child.stdout.on("data", (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const end = bytes.indexOf(10);
      if (end < 0) return;
      const [beganNs = 0, result = 0, length = 0] = bytes.subarray(0, end).toString().split(" ").map(Number);
      if (bytes.length < end + 1 + length) return;
      resolve({ result, output: Uint8Array.from(bytes.subarray(end + 1)), beganUs: beganNs / 1000 });
    });
    ended.then((how) => reject(new Error(`it ended without an answer: ${how}`)));
  });
  answer.catch(() => {});
  return { answer, ended, end: () => child.stdin.end(), kill: () => child.kill("SIGKILL") };
}

async function prepare(program: Program): Promise<Prepared> {
  return {
    async request(limitMs): Promise<Sample> {
      const begin = nowUs();
      const child = start(program, "run");
      let isStopped = false;
      const timer =
        limitMs === undefined
          ? undefined
          : setTimeout(() => {
              isStopped = true;
              child.kill();
            }, limitMs);
      try {
        const { result, output, beganUs } = await child.answer;
        const resultUs = nowUs() - begin;
        await child.ended;
        return {
          readyUs: beganUs - begin,
          resultUs,
          endUs: nowUs() - begin,
          result,
          output: program.input === null ? null : output,
        };
      } catch (error) {
        if (isStopped) throw new Stopped("killed");
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    async hold(count) {
      const all = Array.from({ length: count }, () => start(program, "hold"));
      await Promise.all(all.map(({ answer }) => answer));
      return async () => {
        for (const child of all) child.end();
        await Promise.all(all.map(({ ended }) => ended));
      };
    },
    async dispose() {},
  };
}

export const peer: Peer = {
  ...native("no namespaces, no filter, the rights of the caller"),
  name: "node-child-process",
  title: "child process (child_process.spawn from Node)",
  order: 1,
  wall: "process",
  includes: "what `process` does, and Node's own work for it: streams, event loop, exit handling",
  leavesOut: "any restriction of what the process may do",
  prepare,
};
