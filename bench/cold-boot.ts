/** Measures a cold boot, beside the floor program on the same image with the same steps. */
import { MicroVM } from "barecell";
import { runFloor } from "./floor.ts";
import { interleave, type Measurement, nowUs, type Settings, sampleCount } from "./scenario.ts";
import { percentile, summarize } from "./statistics.ts";
import { check, type Subject } from "./subject.ts";

const BATCH = 20;
/** Boots before the measured ones of each batch, as in the floor program: after the other side's batch the caches are cold. */
const WARM_UP = 5;

type Series = Map<string, number[]>;

export async function measureColdBoot(
  settings: Settings,
  boot: "staged" | "direct",
  subject: Subject,
): Promise<Measurement> {
  // Many: the processor of a shared host has two speeds, which change every few batches, and each side gets its share of both.
  const total = sampleCount(settings, 2000, 2 * BATCH);
  const floorOptions = ["--boot", boot, "--steps", ...subject.floorCall];
  // Before this process has ever had a VM: one that it keeps would spare the floor the costs of being the only one (see README.md).
  const aloneReport = await runFloor(settings.floor, subject.path, [
    ...floorOptions,
    "--runs",
    String(Math.min(total, 100)),
  ]);
  const alone = aloneReport.samples["boot to result"] ?? [];

  const own: Series = new Map();
  const steps: Series = new Map();
  const floor: Series = new Map();
  const floorSteps: Series = new Map();
  await interleave(
    total,
    BATCH,
    [
      (count) => {
        for (let i = -WARM_UP; i < count; i++) bootOnce(subject, boot, i < 0 ? undefined : { own, steps });
      },
      async (count) => {
        const report = await runFloor(settings.floor, subject.path, [
          ...floorOptions,
          "--runs",
          String(count),
        ]);
        check(subject.call, Number(report.slot));
        for (const [name, samples] of Object.entries(report.samples)) add(floor, name, ...samples);
        for (const [name, samples] of Object.entries(report.steps ?? {})) add(floorSteps, name, ...samples);
      },
    ],
    (done) => settings.progress(`${done} of ${total}`),
  );

  const dispose = own.get("dispose") ?? [];
  const floorClose = floor.get("close") ?? [];
  const medians = (series: Series): Record<string, number> =>
    Object.fromEntries([...series].map(([name, samples]) => [name, percentile(samples, 0.5)]));
  return {
    unit: "us",
    samples: own.get("boot to result") ?? [],
    floor: floor.get("boot to result") ?? [],
    details: {
      image: subject.title,
      warmUpPerBatch: WARM_UP,
      batch: BATCH,
      floorAlone: { ...summarize(alone), samples: alone },
      stepsP50: { barecell: medians(steps), floor: medians(floorSteps) },
      dispose: {
        ...summarize(dispose),
        floor: summarize(floorClose),
        samples: { value: dispose, floor: floorClose },
      },
    },
    notes: [
      `floor p50 with no other VM of this process's: ${summarize(alone).p50.toFixed(0)} us`,
      `dispose p50 ${summarize(dispose).p50.toFixed(0)} us, floor ${summarize(floorClose).p50.toFixed(0)} us`,
    ],
  };
}

function bootOnce(
  { image, call }: Subject,
  boot: "staged" | "direct",
  into?: { own: Series; steps: Series },
): void {
  const begin = nowUs();
  const vm = MicroVM.bootSync(image, { boot });
  const booted = nowUs();
  const result = vm.callSync(call.name, ...call.args);
  const called = nowUs();
  check(call, result);
  // Outside of both measured spans.
  const timeline = vm.timeline;
  const disposing = nowUs();
  vm.dispose();
  const disposed = nowUs();
  if (!into) return;
  add(into.own, "boot to result", called - begin);
  add(into.own, "dispose", disposed - disposing);
  // What JavaScript and Node-API take: the addon's own clock starts when it makes the VM's object.
  add(into.steps, "JavaScript", booted - begin - timeline.totalUs);
  for (const step of timeline.steps) add(into.steps, step.name, step.durationUs);
  add(into.steps, "call", called - booted);
}

function add(series: Series, name: string, ...samples: number[]): void {
  const list = series.get(name);
  if (list) list.push(...samples);
  else series.set(name, samples);
}
