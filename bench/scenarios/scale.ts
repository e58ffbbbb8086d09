/** A cold boot beside more and more live VMs of the same process, and beside as many of other processes. */
import { MicroVM } from "barecell";
import { runFloor } from "../floor.ts";
import { HelperProcess } from "../helper-process.ts";
import {
  type Measurement,
  nowUs,
  type Samples,
  type Scenario,
  type Settings,
  sampleCount,
} from "../scenario.ts";
import { percentile } from "../statistics.ts";
import { addSubject, callOnce, check, type Subject } from "../subject.ts";

const LEVELS = [1, 10, 100, 1000] as const;
const QUICK_LEVELS = [1, 5, 20] as const;
const BATCH = 20;
const WARM_UP = 5;
const OTHER_PROCESSES = 4;
/** Target of the project: with the most live VMs at most so many times what it takes with one. */
const TARGET = 1.2;

interface Sides {
  readonly own: number[];
  readonly floor: number[];
}

/** A boot as the floor program makes it, to the result; the VM stays. */
function bootOnce({ image, call }: Subject): { readonly vm: MicroVM; readonly took: number } {
  const begin = nowUs();
  const vm = MicroVM.bootSync(image);
  callOnce(vm, call);
  return { vm, took: nowUs() - begin };
}

function bootBatch(subject: Subject, count: number, into: number[]): void {
  for (let i = -WARM_UP; i < count; i++) {
    const { vm, took } = bootOnce(subject);
    vm.dispose();
    if (i >= 0) into.push(took);
  }
}

async function measure(settings: Settings): Promise<Measurement> {
  const subject = await addSubject(settings);
  const levels: readonly number[] = settings.quick ? QUICK_LEVELS : LEVELS;
  const most = Math.max(...levels);
  const total = sampleCount(settings, 200, BATCH / 2);
  const beside = new Map<number, Sides>(levels.map((level) => [level, { own: [], floor: [] }]));
  const elsewhere: Sides = { own: [], floor: [] };

  const floorBatch = async (live: number, count: number, into: number[]): Promise<void> => {
    const words = ["--boot", "staged", ...subject.floorCall, "--live", String(live), "--runs", String(count)];
    const report = await runFloor(settings.floor, subject.path, words);
    check(subject.call, Number(report.slot));
    into.push(...(report.samples["boot to result"] ?? []));
  };

  for (let done = 0; done < total; done += BATCH) {
    const count = Math.min(BATCH, total - done);
    const live: MicroVM[] = [];
    for (const [level, { own }] of beside) {
      settings.progress(`${done} of ${total}, ${level} live VMs`);
      while (live.length < level) live.push(bootOnce(subject).vm);
      bootBatch(subject, count, own);
    }
    // Neither side is to meet the other's VMs.
    for (const vm of live.splice(1)) vm.dispose();
    for (const [level, { floor }] of beside) {
      settings.progress(`${done} of ${total}, ${level} live VMs, floor`);
      await floorBatch(level, count, floor);
    }
    settings.progress(`${done} of ${total}, ${most} live VMs of other processes`);
    await besideOthers(settings, subject, most, async () => {
      bootBatch(subject, count, elsewhere.own);
      await floorBatch(1, count, elsewhere.floor);
    });
    live[0]?.dispose();
  }
  return describe(beside, elsewhere, subject);
}

async function besideOthers(
  settings: Settings,
  { path, floorCall }: Subject,
  vms: number,
  act: () => Promise<void>,
): Promise<void> {
  const others = Array.from(
    { length: OTHER_PROCESSES },
    () => new HelperProcess(settings.floor, [path, "--boot", "staged", ...floorCall, "--hold"]),
  );
  try {
    await Promise.all(others.map((other) => other.ask(String(Math.ceil(vms / OTHER_PROCESSES)))));
    await act();
  } finally {
    await Promise.all(others.map((other) => other.end()));
  }
}

const spell = (count: number): string => count.toLocaleString("en");
const asSamples = ({ own, floor }: Sides): Samples => ({ unit: "us", samples: own, floor });
const median = (samples: readonly number[]): number => percentile(samples, 0.5);

function describe(beside: ReadonlyMap<number, Sides>, elsewhere: Sides, { title }: Subject): Measurement {
  const sides = [...beside];
  const [first, last] = [sides[0], sides.at(-1)];
  if (!first || !last) throw new RangeError("no levels");
  const [most, atMost] = last;
  const [, alone] = first;
  const growth = {
    barecell: median(atMost.own) / median(alone.own),
    floor: median(atMost.floor) / median(alone.floor),
    barecellElsewhere: median(elsewhere.own) / median(alone.own),
    floorElsewhere: median(elsewhere.floor) / median(alone.floor),
  };
  return {
    ...asSamples(atMost),
    parts: {
      ...Object.fromEntries(
        sides.slice(0, -1).map(([level, each]) => [`${spell(level)} live`, asSamples(each)]),
      ),
      [`${spell(most)} live in other processes`]: asSamples(elsewhere),
    },
    details: {
      image: title,
      boot: "staged",
      batch: BATCH,
      warmUpPerBatch: WARM_UP,
      liveVms: most,
      growth,
      target: TARGET,
    },
    notes: [
      `with ${spell(most)} live VMs ${growth.barecell.toFixed(2)} times what it takes with 1 (floor ${growth.floor.toFixed(2)}; target ${TARGET})`,
      `with ${spell(most)} live VMs in ${OTHER_PROCESSES} other processes ${growth.barecellElsewhere.toFixed(2)} times (floor ${growth.floorElsewhere.toFixed(2)})`,
    ],
  };
}

export const scale: Scenario = {
  name: "scale",
  title:
    "no VM yet -> staged boot -> result, beside 1,000 live VMs of the same process; beside fewer, and elsewhere",
  measure,
};
