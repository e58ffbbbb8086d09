/**
 * A measuring process: has one peer and does what the runner says. In a process of its own, so that a function that takes its host with it
 * takes only this, and so that one peer's heap, threads and mappings do not slow down another.
 */
import { type Prepared, type Program, type Sample, Stopped, Unavailable } from "../peers/peer.ts";
import { nowUs } from "../peers/support/clock.ts";
import { errorText } from "../peers/support/error-text.ts";
import type { Answers, HostTask, Order, Reply, Request } from "./messages.ts";
import { onePeer } from "./registry.ts";

const task = JSON.parse(process.argv[2] ?? "{}") as HostTask;
const peer = await onePeer(task.peer);

let prepared: Prepared | undefined;
let program: Program | undefined;
let letGo: (() => Promise<void>) | undefined;

/** @throws if the function did not compute what it must: then it is no measurement */
function check(sample: Sample): Sample {
  if (program === undefined) return sample;
  if (sample.result !== program.expected) {
    throw new Error(`wrong result: ${sample.result} instead of ${program.expected}`);
  }
  const { output } = program;
  if (output !== null && !(sample.output !== null && Buffer.from(sample.output).equals(output))) {
    throw new Error("wrong output");
  }
  // It has been looked at, and need not travel.
  return { ...sample, output: null };
}

async function close(): Promise<void> {
  await letGo?.();
  letGo = undefined;
  const old = prepared;
  prepared = undefined;
  await old?.dispose();
}

function opened(): Prepared {
  if (prepared === undefined) throw new Error("no workload is open");
  return prepared;
}

async function loop(forMs: number): Promise<Answers["loop"]> {
  const current = opened();
  if (current.loop !== undefined) return current.loop(forMs);
  const begin = nowUs();
  let requests = 0;
  while (nowUs() - begin < forMs * 1000) {
    await current.request();
    requests++;
  }
  return { requests, elapsedUs: nowUs() - begin };
}

async function stop(limitMs: number): Promise<Answers["stop"]> {
  const begin = nowUs();
  const done = (how: Answers["stop"]["how"], message: string): Answers["stop"] => ({
    how,
    message,
    elapsedMs: (nowUs() - begin) / 1000,
  });
  try {
    await opened().request(limitMs);
    return done("returned", "the function came back");
  } catch (error) {
    return done(error instanceof Stopped ? "stopped" : "failed", errorText(error));
  }
}

async function obey(order: Order): Promise<Answers[Order["op"]]> {
  switch (order.op) {
    case "available":
      return peer.available(task.setting);
    case "open":
      await close();
      program = order.program;
      prepared = await peer.prepare(order.program, task.setting);
      return null;
    case "batch": {
      const samples: Sample[] = [];
      for (let i = -order.warmUp; i < order.count; i++) {
        const sample = check(await opened().request());
        if (i >= 0) samples.push(sample);
      }
      return samples;
    }
    case "loop":
      return loop(order.forMs);
    case "hold":
      letGo = await opened().hold?.(order.count);
      return letGo !== undefined;
    case "release":
      await letGo?.();
      letGo = undefined;
      return null;
    case "stop":
      return stop(order.limitMs);
    case "details":
      return (await opened().details?.()) ?? {};
    case "end":
      await close();
      return null;
  }
}

process.on("message", (message) => {
  const request = message as Request;
  obey(request).then(
    (value) => reply({ id: request.id, ok: true, value }),
    (error: unknown) =>
      reply({
        id: request.id,
        ok: false,
        message: errorText(error),
        ...(error instanceof Unavailable ? { install: error.install } : {}),
      }),
  );
});

function reply(message: Reply): void {
  if (process.connected) process.send?.(message);
}

// Whoever started this has ended, perhaps in a hurry: nothing may stay.
process.on("disconnect", () => {
  close().finally(() => process.exit(0));
});
// A terminal's Ctrl-C is for the runner, which ends this in good order.
process.on("SIGINT", () => {});
