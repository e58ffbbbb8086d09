/** The pictures of the report. Each is made of the report and a width, and is null where there is nothing to show. */
import type { CellResult, IsolationReport } from "../result.ts";
import {
  frame,
  type Json,
  OWN_COLOR,
  peerAxis,
  roomFor,
  timeAxis,
  timeFloor,
  titleFor,
  type Width,
} from "./chart.ts";
import { FAINT, GUEST, HOST, INK, wallColor } from "./colors.ts";
import { spellMemory, spellRate, spellUs } from "./format.ts";
import { measuredCells, measuredPeers, peerOf } from "./view.ts";

const ROW_PIXELS = 24;
/** More marks than this tell nothing more, but make the file large. */
const MOST_DOTS = 120;

const ownNames = (report: IsolationReport): string[] =>
  report.peers.filter(({ isOwn }) => isOwn).map(({ name }) => name);

function colorOf(report: IsolationReport, name: string): string {
  const peer = peerOf(report, name);
  return peer === undefined ? INK : wallColor(peer.wall, peer.isOwn);
}

/** Every sample of a workload as a dot, with median, p90, p99 and maximum. */
export function latencyChart(
  report: IsolationReport,
  workload: string,
  width: Width,
  withDots: boolean,
): Json | null {
  const cells = measuredCells(report, workload);
  if (cells.length === 0) return null;
  const rows = cells.map(({ peer, result, samples }) => {
    const figures = result as NonNullable<CellResult["result"]>;
    return {
      peer,
      color: colorOf(report, peer),
      least: Math.min(...samples.map(({ resultUs }) => resultUs)),
      ...figures,
      label: spellUs(figures.p50),
    };
  });
  const dots = cells.flatMap(({ peer, samples }) => {
    const every = Math.ceil(samples.length / MOST_DOTS);
    return samples
      .filter((_, i) => i % every === 0)
      .map(({ resultUs }) => ({ peer, us: resultUs, color: colorOf(report, peer) }));
  });
  const from = Math.min(...rows.map(({ least }) => least));
  const to = roomFor(timeFloor(from), Math.max(...rows.map(({ max }) => max)), width);
  const x = (field: string): Json =>
    timeAxis(field, from, to, titleFor(width, "request to result, log scale"));
  const y = peerAxis(
    rows.map(({ peer }) => peer),
    ownNames(report),
  );
  const shared = { y, color: OWN_COLOR };
  const mark = (field: string, shape: Json): Json => ({ mark: shape, encoding: { ...shared, x: x(field) } });
  return frame(width, {
    height: rows.length * ROW_PIXELS,
    data: { values: rows },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 1.5, opacity: 0.45 },
        encoding: { ...shared, x: x("least"), x2: { field: "max" } },
      },
      {
        mark: { type: "bar", height: 9, opacity: 0.35, cornerRadius: 4 },
        encoding: { ...shared, x: x("p50"), x2: { field: "p90" } },
      },
      ...(withDots
        ? [
            {
              data: { values: dots },
              mark: { type: "tick", thickness: 1.2, size: 11, opacity: 0.3 },
              encoding: { ...shared, x: x("us") },
            },
          ]
        : []),
      mark("p99", { type: "point", shape: "diamond", size: 42, filled: true, opacity: 0.85 }),
      mark("p50", { type: "tick", thickness: 3, size: 18 }),
      {
        mark: { type: "text", align: "left", dx: 7, baseline: "middle" },
        encoding: { y, x: x("max"), text: { field: "label" } },
      },
    ],
  });
}

/** Bars begin here: a log scale has no zero. */
const LEAST_US = 1;

/** How long it takes until an instance could run the function. */
export function startChart(report: IsolationReport, workload: string, width: Width): Json | null {
  const rows = measuredCells(report, workload)
    .flatMap(({ peer, ready }) =>
      ready === null
        ? []
        : [
            {
              peer,
              us: Math.max(ready.p50, LEAST_US),
              label: ready.p50 < 0.05 ? "nothing to start" : spellUs(ready.p50),
              color: colorOf(report, peer),
            },
          ],
    )
    .sort((a, b) => a.us - b.us);
  if (rows.length === 0) return null;
  const to = roomFor(LEAST_US, Math.max(...rows.map(({ us }) => us)), width);
  const x = timeAxis("us", LEAST_US, to, titleFor(width, "request to ready, median, log scale"));
  const y = peerAxis(
    rows.map(({ peer }) => peer),
    ownNames(report),
  );
  return frame(width, {
    height: rows.length * ROW_PIXELS,
    data: { values: rows },
    layer: [
      {
        mark: { type: "bar", height: 14, cornerRadiusEnd: 3 },
        encoding: {
          x: { ...x, scale: { type: "log", domain: [LEAST_US, to], nice: false } },
          x2: { datum: LEAST_US },
          y,
          color: OWN_COLOR,
        },
      },
      {
        mark: { type: "text", align: "left", dx: 6, baseline: "middle" },
        encoding: { x, y, text: { field: "label" } },
      },
    ],
  });
}

const LEAST_BYTES = 2 ** 12;

/** Process and kernel memory of an instance. */
export function memoryChart(report: IsolationReport, width: Width): Json | null {
  const rows = measuredPeers(report)
    .flatMap(({ name, memory }) => {
      if (memory === null) return [];
      const bytes = memory.proportionalBytes + memory.kernelBytes;
      const parts =
        width === "wide"
          ? ` (process ${spellMemory(memory.proportionalBytes)}, kernel ${spellMemory(memory.kernelBytes)})`
          : "";
      return [
        {
          peer: name,
          bytes: Math.max(bytes, LEAST_BYTES),
          label: `${spellMemory(bytes)}${parts}`,
          color: colorOf(report, name),
        },
      ];
    })
    .sort((a, b) => a.bytes - b.bytes);
  if (rows.length === 0) return null;
  const longest = width === "wide" ? 330 : 66;
  const to = roomFor(LEAST_BYTES, Math.max(...rows.map(({ bytes }) => bytes)), width, longest);
  const x = {
    field: "bytes",
    type: "quantitative",
    scale: { type: "log", base: 2, domain: [LEAST_BYTES, to], nice: false },
    axis: {
      title: titleFor(width, "memory of an instance, log scale"),
      orient: "top",
      values: [14, 16, 18, 20, 22, 24, 26].map((power) => 2 ** power),
      labelExpr: "datum.value >= 1048576 ? datum.value / 1048576 + ' MiB' : datum.value / 1024 + ' KiB'",
    },
  };
  const y = peerAxis(
    rows.map(({ peer }) => peer),
    ownNames(report),
  );
  return frame(width, {
    height: rows.length * ROW_PIXELS,
    data: { values: rows },
    layer: [
      {
        mark: { type: "bar", height: 14, cornerRadiusEnd: 3 },
        encoding: { x, x2: { datum: LEAST_BYTES }, y, color: OWN_COLOR },
      },
      {
        mark: { type: "text", align: "left", dx: 6, baseline: "middle" },
        encoding: { x, y, text: { field: "label" } },
      },
    ],
  });
}

/** Requests per second on one processor and on two. */
export function throughputChart(report: IsolationReport, workload: string, width: Width): Json | null {
  const rows = measuredPeers(report)
    .flatMap(({ name, throughput }) => {
      const of = (cores: number): number | undefined =>
        throughput.find((entry) => entry.workload === workload && entry.cores === cores)?.requestsPerSecond;
      const [one, two = one] = [of(1), of(2)];
      if (one === undefined || two === undefined || one <= 0 || two <= 0) return [];
      return [
        {
          peer: name,
          one,
          two,
          most: Math.max(one, two),
          label: spellRate(Math.max(one, two)),
          color: colorOf(report, name),
        },
      ];
    })
    .sort((a, b) => b.most - a.most);
  if (rows.length === 0) return null;
  const from = 10 ** Math.floor(Math.log10(Math.min(...rows.map(({ one, two }) => Math.min(one, two)))));
  const to = roomFor(from, Math.max(...rows.map(({ most }) => most)), width, 75);
  const x = (field: string): Json => ({
    field,
    type: "quantitative",
    scale: { type: "log", domain: [from, to], nice: false },
    axis: {
      title: width === "wide" ? "requests per second, log scale: ○ one core, ● two" : "○ one core, ● two",
      orient: "top",
      format: "~s",
      values: [1, 10, 100, 1e3, 1e4, 1e5, 1e6],
    },
  });
  const y = peerAxis(
    rows.map(({ peer }) => peer),
    ownNames(report),
  );
  return frame(width, {
    height: rows.length * ROW_PIXELS,
    data: { values: rows },
    layer: [
      {
        mark: { type: "rule", strokeWidth: 2, opacity: 0.6 },
        encoding: { x: x("one"), x2: { field: "two" }, y, color: OWN_COLOR },
      },
      {
        mark: { type: "point", size: 60, filled: false, strokeWidth: 2 },
        encoding: { x: x("one"), y, color: OWN_COLOR },
      },
      {
        mark: { type: "point", size: 70, filled: true, opacity: 1 },
        encoding: { x: x("two"), y, color: OWN_COLOR },
      },
      {
        mark: { type: "text", align: "left", dx: 9, baseline: "middle" },
        encoding: { x: x("most"), y, text: { field: "label" } },
      },
    ],
  });
}

/** What a boot spends its time on. */
export function timelineChart(report: IsolationReport, width: Width): Json | null {
  const timeline = report.timelines.find(({ peer }) => peer === "microvm-staged") ?? report.timelines[0];
  if (timeline === undefined) return null;
  const rows = timeline.steps.map(({ name, side, startUs, durationUs }) => ({
    step: name,
    from: startUs,
    to: startUs + durationUs,
    color: side === "guest" ? GUEST : HOST,
    label: spellUs(durationUs),
  }));
  const y = {
    field: "step",
    type: "nominal",
    sort: null,
    axis: { title: null, labelLimit: width === "wide" ? 400 : 110 },
  };
  const last = Math.max(...rows.map(({ to }) => to)) * (width === "wide" ? 1.15 : 1.3);
  const x = {
    field: "from",
    type: "quantitative",
    scale: { domain: [0, last], nice: false },
    axis: {
      title: titleFor(width, "microseconds, since the boot began"),
      orient: "top",
      tickCount: width === "wide" ? 8 : 4,
    },
  };
  return frame(width, {
    height: rows.length * 21,
    data: { values: rows },
    layer: [
      {
        mark: { type: "bar", height: 13, cornerRadius: 2 },
        encoding: { x, x2: { field: "to" }, y, color: OWN_COLOR },
      },
      {
        mark: { type: "text", align: "left", dx: 5, baseline: "middle", color: FAINT },
        encoding: { x: { ...x, field: "to" }, y, text: { field: "label" } },
      },
    ],
  });
}
