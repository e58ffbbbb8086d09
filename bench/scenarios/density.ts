/** What one more idle VM costs in memory: of its process, and of the kernel. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { HelperProcess } from "../helper-process.ts";
import { availableBytes, kernelBytes, proportionalBytes } from "../isolation/process-memory.ts";
import type { Measurement, Samples, Scenario, Settings } from "../scenario.ts";
import { imageFiles, type MappingSize, parseSmaps, sizesByKind } from "../smaps.ts";
import { percentile } from "../statistics.ts";
import { addSubject, type Subject } from "../subject.ts";

const VMS = 400;
const QUICK_VMS = 20;
const ROUNDS = 9;
/** Made before the first look, so that what a process has only once is in it. */
const FIRST_VMS = 20;
/** The kernel frees and counts some of it only a moment later. */
const SETTLE_MS = 300;
const QUICK_SETTLE_MS = 20;
/** Target of the project, KiB more than the floor. */
const TARGET_KIB = 32;

/** Bytes for one VM. */
interface Cost {
  readonly process: number;
  readonly kernel: number;
  /** By how much less memory the whole system has left: everything, also what others took or gave back at that time. */
  readonly system: number;
  readonly mappings: Readonly<Record<string, MappingSize>>;
}

interface Look {
  readonly process: number;
  readonly kernel: number;
  readonly available: number;
  readonly sizes: Readonly<Record<string, MappingSize>>;
  readonly files: readonly string[];
}

const smapsOf = (pid: number): ReturnType<typeof parseSmaps> =>
  parseSmaps(readFileSync(`/proc/${pid}/smaps`, "utf8"));

async function look(pid: number, settleMs: number): Promise<Look> {
  await sleep(settleMs);
  const numbers = { process: proportionalBytes([pid]), kernel: kernelBytes(), available: availableBytes() };
  const mappings = smapsOf(pid);
  return { ...numbers, sizes: sizesByKind(mappings), files: imageFiles(mappings) };
}

interface Plan {
  readonly vms: number;
  readonly settleMs: number;
}

async function hold(helper: HelperProcess, { vms, settleMs }: Plan): Promise<{ cost: Cost; after: Look }> {
  await helper.ask(String(FIRST_VMS));
  const before = await look(helper.pid, settleMs);
  await helper.ask(String(vms));
  const after = await look(helper.pid, settleMs);
  const each = (bytes: number): number => bytes / vms;
  const mappings = Object.entries(after.sizes).map(([kind, size]): [string, MappingSize] => {
    const fields = Object.entries(size).map(([field, value]) => [
      field,
      each(value - (before.sizes[kind]?.[field as keyof MappingSize] ?? 0)),
    ]);
    return [kind, Object.fromEntries(fields) as MappingSize];
  });
  return {
    cost: {
      process: each(after.process - before.process),
      kernel: each(after.kernel - before.kernel),
      system: each(before.available - after.available),
      mappings: Object.fromEntries(mappings),
    },
    after,
  };
}

type StartHelper = () => HelperProcess;

async function round(start: StartHelper, plan: Plan): Promise<Cost> {
  await using helper = start();
  return (await hold(helper, plan)).cost;
}

/** Two processes with VMs of one image at a time: which pages do they have in common? */
async function sharing(start: StartHelper, plan: Plan): Promise<Record<string, unknown>> {
  await using one = start();
  const { after: alone } = await hold(one, plan);
  await using other = start();
  await hold(other, plan);
  const [first, second] = [await look(one.pid, plan.settleMs), await look(other.pid, plan.settleMs)];
  return {
    vms: FIRST_VMS + plan.vms,
    imagePagesOfOneProcess: alone.sizes["image pages"],
    /** Less than alone where both processes map the same pages. */
    imagePagesBesideAnother: first.sizes["image pages"],
    acrossProcesses: first.files.some((file) => second.files.includes(file)),
  };
}

const KIB = 1024;
const inKib = (own: readonly Cost[], floor: readonly Cost[], pick: (cost: Cost) => number): Samples => ({
  unit: "KiB",
  samples: own.map((cost) => pick(cost) / KIB),
  floor: floor.map((cost) => pick(cost) / KIB),
});
const median = (samples: readonly number[]): number => percentile(samples, 0.5);

async function measure(settings: Settings): Promise<Measurement> {
  const subject = await addSubject(settings);
  const plan: Plan = settings.quick
    ? { vms: QUICK_VMS, settleMs: QUICK_SETTLE_MS }
    : { vms: VMS, settleMs: SETTLE_MS };
  const rounds = settings.runs ?? (settings.quick ? 1 : ROUNDS);
  const startOwn = (): HelperProcess =>
    HelperProcess.ofScript("hold-vms.js", [subject.path, JSON.stringify(subject.call)]);
  const startFloor = (): HelperProcess =>
    new HelperProcess(settings.floor, [subject.path, "--boot", "direct", ...subject.floorCall, "--hold"]);
  const own: Cost[] = [];
  const floor: Cost[] = [];
  for (let done = 0; done < rounds; done++) {
    settings.progress(`round ${done + 1} of ${rounds}`);
    own.push(await round(startOwn, plan));
    floor.push(await round(startFloor, plan));
  }
  settings.progress("two processes");
  const shared = await sharing(startOwn, plan);
  return describe(subject, plan, own, floor, shared);
}

function describe(
  { title }: Subject,
  { vms }: Plan,
  own: readonly Cost[],
  floor: readonly Cost[],
  shared: Record<string, unknown>,
): Measurement {
  const all = inKib(own, floor, ({ process, kernel }) => process + kernel);
  const more = median(all.samples) - median(all.floor ?? []);
  const imagePages = own.map(({ mappings }) => mappings["image pages"]);
  const resident = median(imagePages.map((size) => (size?.resident ?? 0) / KIB));
  const proportional = median(imagePages.map((size) => (size?.proportional ?? 0) / KIB));
  const written = median(imagePages.map((size) => (size?.own ?? 0) / KIB));
  return {
    ...all,
    parts: {
      process: inKib(own, floor, (cost) => cost.process),
      kernel: inKib(own, floor, (cost) => cost.kernel),
    },
    details: {
      image: title,
      vmsPerRound: vms,
      target: { kibMoreThanFloor: TARGET_KIB },
      kibMoreThanFloor: more,
      /** By MemAvailable: a check that nothing is overlooked, where nothing else runs. */
      systemKib: inKib(own, floor, (cost) => cost.system),
      mappingsOfOneVm: { barecell: own.at(-1)?.mappings, floor: floor.at(-1)?.mappings },
      sharing: shared,
    },
    notes: [
      `an idle VM takes ${more.toFixed(1)} KiB more than the floor's (target: at most ${TARGET_KIB})`,
      `of the image a VM has ${resident.toFixed(0)} KiB resident: ${written.toFixed(0)} KiB written by it, the rest shared with others (${proportional.toFixed(1)} KiB in proportion)`,
      shared["acrossProcesses"] === true
        ? "processes share the image's pages"
        : "each process has the image's pages once for all its VMs; two processes do not share them",
    ],
  };
}

export const density: Scenario = {
  name: "density",
  title:
    "memory of one more idle VM that is ready: proportional set size of its process, and the kernel's own",
  measure,
};
