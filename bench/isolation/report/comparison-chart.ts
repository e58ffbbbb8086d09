/** Who is faster with which workload: a cell for each peer and workload, red where the peer is faster than barecell, green where it is slower. */
import type { IsolationReport } from "../result.ts";
import { frame, type Json, type Width } from "./chart.ts";
import { FAINT, INK } from "./colors.ts";
import { compareWithOwn } from "./findings.ts";
import { digits } from "./format.ts";
import { measuredPeers } from "./view.ts";

const ROW_PIXELS = { wide: 26, narrow: 22 } as const;
/** A hundred times is as strong as colours get. */
const DECADES = 2;
/** Letters must be legible on both. */
const [WEAKEST, STRONGEST] = [0.14, 0.68];

/** Null with one workload: then other pictures say it better. */
export function comparisonChart(report: IsolationReport, width: Width): Json | null {
  const comparisons = compareWithOwn(report);
  const workloads = report.workloads.map(({ name }) => name);
  if (workloads.length < 2 || comparisons.length === 0) return null;
  const rows = comparisons.map(({ peer, workload, ratio, isClear }) => {
    const strength = Math.min(1, Math.abs(Math.log10(ratio)) / DECADES);
    return {
      ...{ peer, workload },
      color: !isClear ? "var(--grid)" : ratio < 1 ? "var(--bad)" : "var(--good)",
      opacity: isClear ? WEAKEST + (STRONGEST - WEAKEST) * strength : 0.5,
      label: isClear ? times(ratio < 1 ? 1 / ratio : ratio) : "=",
    };
  });
  const peers = measuredPeers(report)
    .filter(({ name }) => comparisons.some(({ peer }) => peer === name))
    .map(({ name }) => name);
  const isWide = width === "wide";
  const axis = { title: null, grid: false, labelColor: INK };
  const encoding = {
    x: {
      field: "workload",
      type: "nominal",
      sort: workloads,
      axis: {
        ...axis,
        orient: "top",
        labelAngle: isWide ? -35 : -90,
        labelAlign: "left",
        labelBaseline: "middle",
      },
    },
    y: { field: "peer", type: "nominal", sort: peers, axis },
  };
  return frame(width, {
    height: peers.length * ROW_PIXELS[width],
    data: { values: rows },
    layer: [
      {
        mark: { type: "rect", cornerRadius: 3, stroke: "var(--paper)", strokeWidth: 2 },
        encoding: {
          ...encoding,
          color: { field: "color", type: "nominal", scale: null },
          opacity: { field: "opacity", type: "quantitative", scale: null },
        },
      },
      ...(isWide
        ? [
            {
              mark: { type: "text", fontSize: 10.5, color: INK },
              encoding: { ...encoding, text: { field: "label" } },
            },
          ]
        : [
            {
              transform: [{ filter: "datum.label === '='" }],
              mark: { type: "text", fontSize: 10, color: FAINT },
              encoding: { ...encoding, text: { field: "label" } },
            },
          ]),
    ],
  });
}

/** Short: a cell has room for five letters. */
const times = (ratio: number): string =>
  ratio >= 10 ? `${digits(Math.round(ratio))}×` : `${ratio.toFixed(1)}×`;
