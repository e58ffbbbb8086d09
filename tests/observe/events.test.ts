/** What barecell says on its channels, and that it says nothing where nobody listens. */
import { channel, subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import {
  type BootMessage,
  type CallMessage,
  compile,
  type HostCallMessage,
  type HostContext,
  MicroVM,
  metrics,
} from "../support/barecell.ts";
import { soon } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { CACHE_FOLDER, wat, withVm } from "../support/modules.ts";
import { echo, observedGuest as guest } from "../support/observed-guest.ts";

const LASTING = ["compile", "boot", "call", "host-call"] as const;
const MOMENTS = ["trap", "kill", "reset", "growth-refused", "trace"] as const;
const STEPS = ["start", "end", "asyncStart", "asyncEnd", "error"] as const;
const endings: (() => void)[] = [];

afterEach(() => {
  for (const end of endings.splice(0)) end();
});

function listen(name: string, listener: (message: object) => void): void {
  const onMessage = (message: unknown): void => listener(message as object);
  subscribe(name, onMessage);
  endings.push(() => unsubscribe(name, onMessage));
}

/** All steps of a tracing channel, as `[step, message]`. */
function follow<Message>(name: (typeof LASTING)[number]): [string, Message][] {
  const heard: [string, Message][] = [];
  for (const step of STEPS) {
    listen(`tracing:barecell:${name}:${step}`, (message) => heard.push([step, message as Message]));
  }
  return heard;
}

function collect<Message>(name: (typeof MOMENTS)[number]): Message[] {
  const heard: Message[] = [];
  listen(`barecell:${name}`, (message) => heard.push(message as Message));
  return heard;
}

const steps = (heard: readonly [string, unknown][]): string[] => heard.map(([step]) => step);
/** The guest's memory may have three of the four pages that it could have by its own maximum. */
const boot = { imports: echo, wasi: {}, maxMemoryBytes: 3 * 65536 };

describe("what lasts", () => {
  it("a boot, async and sync", async () => {
    const heard = follow<BootMessage>("boot");
    const vm = await MicroVM.boot(guest, boot);
    expect(steps(heard)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    expect(new Set(heard.map(([, message]) => message)).size).toBe(1);
    expect(heard[0]?.[1]).toMatchObject({ kind: "boot", vm: vm.id, image: "observed", isAsync: true });
    heard.length = 0;
    const other = MicroVM.bootSync(guest, boot);
    expect(steps(heard)).toEqual(["start", "end"]);
    expect(heard[0]?.[1]).toMatchObject({ vm: other.id, isAsync: false });
    expect(other.id).not.toBe(vm.id);
    heard.length = 0;
    const error = await failure(() => MicroVM.boot(guest, {}), "BARECELL_IMPORT_DENIED");
    expect(steps(heard)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
    expect(heard[0]?.[1].error).toBe(error);
    vm.dispose();
    other.dispose();
  });

  it("a call: its export, how it ends, and that of the host function within", async () => {
    await withVm(guest, boot, async (vm) => {
      const calls = follow<CallMessage>("call");
      const hostCalls = follow<HostCallMessage>("host-call");
      vm.callSync("host", 1, 2n, 3);
      expect(steps(calls)).toEqual(["start", "end"]);
      expect(calls[0]?.[1]).toMatchObject({ kind: "call", vm: vm.id, name: "host", within: undefined });
      expect(steps(hostCalls)).toEqual(["start", "end"]);
      expect(hostCalls[0]?.[1]).toMatchObject({ module: "env", name: "host", isAsync: false });
      expect(hostCalls[0]?.[1].during).toBe(calls[0]?.[1]);
      calls.length = 0;
      await vm.call("seven");
      expect(steps(calls)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
      calls.length = 0;
      const error = await failure(() => vm.call("trap"), "BARECELL_TRAP_UNREACHABLE");
      expect(steps(calls)).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
      expect(calls[0]?.[1].error).toBe(error);
    });
  });

  it("calls back into the guest belong to the host function that made them", async () => {
    const imports = {
      env: {
        host: async (context: HostContext, depth: number): Promise<bigint> => {
          if (depth > 0) await context.call("host", depth - 1, 0n, 0);
          return 0n;
        },
      },
    };
    await withVm(guest, { ...boot, imports }, async (vm) => {
      const calls = follow<CallMessage>("call");
      const hostCalls = follow<HostCallMessage>("host-call");
      await vm.call("host", 2, 0n, 0);
      const started = calls.filter(([step]) => step === "start").map(([, message]) => message);
      const hosts = hostCalls.filter(([step]) => step === "start").map(([, message]) => message);
      expect(started.map(({ within }) => within)).toEqual([undefined, hosts[0], hosts[1]]);
      expect(hosts.map(({ during }) => during)).toEqual(started);
      expect(steps(hostCalls).filter((step) => step === "asyncEnd").length).toBe(3);
    });
  });

  it("compiling", async () => {
    const heard = follow<{ modules: string[]; isCached: boolean }>("compile");
    const module = wat("tiny", `(module (func (export "f")) (func (export "n${Date.now()}")))`);
    const before = metrics().compiles;
    await compile(module, { name: "tiny", cache: CACHE_FOLDER });
    expect(heard[0]?.[1]).toMatchObject({ modules: ["tiny"], isCached: false });
    heard.length = 0;
    await compile(module, { name: "tiny", cache: CACHE_FOLDER });
    expect(heard[0]?.[1]).toMatchObject({ isCached: true });
    await failure(() => compile(Uint8Array.of(1)), "BARECELL_MODULE_INVALID");
    expect(steps(heard)).toContain("error");
    const { compiled, cached, failed } = metrics().compiles;
    expect([compiled - before.compiled, cached - before.cached, failed - before.failed]).toEqual([1, 1, 1]);
  });
});

describe("moments", () => {
  it("a trap", async () => {
    const traps = collect<{ error: unknown }>("trap");
    const kills = collect("kill");
    await withVm(guest, boot, async (vm) => {
      const error = await failure(() => vm.callSync("trap"), "BARECELL_TRAP_UNREACHABLE");
      expect(traps).toEqual([{ vm: vm.id, image: "observed", error }]);
      // It is poisoned now; that a call is refused is no trap.
      await failure(() => vm.callSync("trap"), "BARECELL_POISONED");
    });
    expect([traps.length, kills.length]).toEqual([1, 0]);
  });

  it("kills, with their reason", async () => {
    const kills = collect<{ reason: string; error: { code: string } }>("kill");
    await withVm(guest, boot, (vm) => failure(() => vm.call("loop", { timeoutMs: 20 }), "BARECELL_TIMEOUT"));
    await withVm(guest, boot, (vm) =>
      failure(() => vm.call("loop", { signal: AbortSignal.timeout(20) }), "BARECELL_CANCELLED"),
    );
    await withVm(guest, boot, (vm) =>
      failure(() => vm.callSync("yield", 9, { maxHostCalls: 3 }), "BARECELL_HOST_CALL_LIMIT"),
    );
    const vm = await MicroVM.boot(guest, boot);
    const running = failure(() => vm.call("loop"), "BARECELL_DISPOSED");
    vm.dispose();
    await soon("dispose", running);
    await failure(() => vm.call("loop"), "BARECELL_DISPOSED");
    expect(kills.map(({ reason, error }) => [reason, error.code])).toEqual([
      ["timeout", "BARECELL_TIMEOUT"],
      ["cancelled", "BARECELL_CANCELLED"],
      ["limit", "BARECELL_HOST_CALL_LIMIT"],
      ["disposed", "BARECELL_DISPOSED"],
    ]);
  });

  it("growth that was refused, once for each run", async () => {
    await withVm(guest, boot, async (vm) => {
      vm.callSync("grow", 3);
      const heard = collect<{ count: number }>("growth-refused");
      vm.callSync("grow", 1);
      // What the module's own maximum forbids is not the host's doing.
      vm.callSync("grow", 100);
      expect(heard).toEqual([]);
      vm.callSync("grow", 2);
      await vm.call("grow", 2);
      expect(heard).toEqual([
        { vm: vm.id, image: "observed", count: 1 },
        { vm: vm.id, image: "observed", count: 1 },
      ]);
      expect(vm.stats().growthRefusals).toBe(3);
    });
  });

  it("a reset, of either kind, and none of a reset that is refused", async () => {
    const heard = collect<{ vm: number; durationUs: number }>("reset");
    const before = metrics().resets;
    const vm = await MicroVM.boot(guest, boot);
    await vm.reset();
    vm.resetSync();
    vm.dispose();
    await failure(() => vm.reset(), "BARECELL_DISPOSED");
    expect(heard.map(({ vm: id }) => id)).toEqual([vm.id, vm.id]);
    for (const { durationUs } of heard) expect(durationUs).toBeGreaterThan(0);
    expect(metrics().resets - before).toBe(2);
  });

  it("every host call, of VMs that are booted while somebody listens", async () => {
    const early = await MicroVM.boot(guest, boot);
    const records = collect<{ vm: number; name: string }>("trace");
    await withVm(guest, boot, async (vm) => {
      await vm.call("yield", 3);
      vm.callSync("clock");
      early.callSync("yield", 3);
      expect(records.map(({ vm: id, name }) => [id, name])).toEqual([
        ...Array.from({ length: 3 }, () => [vm.id, "sched_yield"]),
        [vm.id, "clock_time_get"],
      ]);
    });
    early.dispose();
  });
});

it("nothing is published where nobody listens", async () => {
  let published = 0;
  const count = (): void => {
    published++;
  };
  const channels = [
    ...LASTING.flatMap((name) => STEPS.map((step) => tracingChannel(`barecell:${name}`)[step])),
    ...MOMENTS.map((name) => channel(`barecell:${name}`)),
  ];
  // What nobody listens to is a plain object, whose methods can be shadowed.
  for (const entry of channels) {
    Object.assign(entry, {
      publish: count,
      runStores: (_message: unknown, act: () => unknown) => {
        count();
        return act();
      },
    });
  }
  const all = async (): Promise<void> => {
    await compile(wat("tiny", `(module (func (export "f")))`), { cache: CACHE_FOLDER });
    const vm = await MicroVM.boot(guest, boot);
    vm.callSync("host", 1, 2n, 3);
    await vm.call("host", 1, 2n, 3);
    vm.callSync("grow", 3);
    await failure(() => vm.call("loop", { timeoutMs: 10 }), "BARECELL_TIMEOUT");
    vm.dispose();
    const other = MicroVM.bootSync(guest, boot);
    await failure(() => other.callSync("trap"), "BARECELL_TRAP_UNREACHABLE");
    other.dispose();
  };
  try {
    await all();
    expect(published).toBe(0);
  } finally {
    for (const entry of channels) {
      Reflect.deleteProperty(entry, "publish");
      Reflect.deleteProperty(entry, "runStores");
    }
  }
  // The same does publish when somebody listens.
  const heard = [
    ...LASTING.map(follow),
    ...(["trap", "kill", "growth-refused", "trace"] as const).map(collect),
  ];
  await all();
  for (const list of heard) expect(list.length).toBeGreaterThan(0);
});
