/** The main picture: kind of wall against time. Bands are walls, and within one its peers are put so that their names do not meet. */
import type { IsolationReport } from "../result.ts";
import { FONT, frame, type Json, OWN_COLOR, timeAxis, WIDTHS, type Width } from "./chart.ts";
import { FAINT, wallColor } from "./colors.ts";
import { spellUs } from "./format.ts";
import { measuredCells, peerOf, WALL_NAMES, WALL_ORDER } from "./view.ts";

const LANE_PIXELS = 24;
const LETTER_PIXELS = 6.9;
const POINT_PIXELS = 22;
/** Room within a band above its first lane, for its name. */
const HEAD_LANES = 0.85;

interface Placed {
  readonly peer: string;
  readonly us: number;
  readonly lane: number;
  readonly color: string;
  readonly label: string;
  readonly isOwn: boolean;
  readonly isAhead: boolean;
  /** The name stands to the left of its point, where there is no room to the right. */
  readonly toLeft: boolean;
}

export function isolationChart(report: IsolationReport, workload: string, width: Width): Json | null {
  const cells = measuredCells(report, workload);
  if (cells.length === 0) return null;
  const all = cells.map(({ result }) => result?.p50 ?? 1);
  const [from, to] = [Math.min(...all), Math.max(...all) * (width === "wide" ? 6 : 3)];
  const low = 10 ** Math.floor(Math.log10(Math.max(from, 0.05)));
  const pixels = (us: number): number => (Math.log(us / low) / Math.log(to / low)) * (WIDTHS[width] - 30);

  const placed: Placed[] = [];
  const bands: { from: number; to: number; name: string; isOdd: boolean }[] = [];
  let top = 0;
  for (const wall of WALL_ORDER) {
    const members = cells.filter(({ peer }) => peerOf(report, peer)?.wall === wall);
    if (members.length === 0) continue;
    // For each lane, where its last name ends.
    const ends: number[] = [];
    for (const { peer, result } of members) {
      const us = result?.p50 ?? 1;
      const isOwn = peerOf(report, peer)?.isOwn ?? false;
      const label = width === "wide" ? `${peer}  ${spellUs(us)}` : peer;
      const long = label.length * LETTER_PIXELS + POINT_PIXELS;
      const toLeft = pixels(us) + long > WIDTHS[width] - 30;
      const begin = toLeft ? pixels(us) - long : pixels(us) - POINT_PIXELS / 2;
      let lane = ends.findIndex((end) => end < begin);
      if (lane < 0) lane = ends.length;
      ends[lane] = begin + long + POINT_PIXELS / 2;
      placed.push({
        peer,
        us,
        lane: top + HEAD_LANES + lane,
        color: wallColor(wall, isOwn),
        label,
        isOwn,
        isAhead: peerOf(report, peer)?.isAhead ?? false,
        toLeft,
      });
    }
    const bottom = top + HEAD_LANES + ends.length + 0.1;
    bands.push({ from: top, to: bottom, name: WALL_NAMES[wall], isOdd: bands.length % 2 === 1 });
    top = bottom;
  }
  return specification(width, from, to, top, placed, bands);
}

function specification(
  width: Width,
  from: number,
  to: number,
  lanes: number,
  placed: readonly Placed[],
  bands: readonly Json[],
): Json {
  const x = timeAxis("us", from, to, "request to result, median, log scale");
  const y = {
    field: "lane",
    type: "quantitative",
    scale: { domain: [0, lanes], reverse: true, nice: false },
    axis: null,
  };
  const names = (side: boolean): Json[] =>
    [true, false].map((own) => ({
      transform: [{ filter: `datum.toLeft === ${side} && datum.isOwn === ${own}` }],
      mark: {
        type: "text",
        align: side ? "right" : "left",
        dx: side ? -10 : 10,
        baseline: "middle",
        fontSize: 12.5,
        font: FONT,
        fontWeight: own ? "bold" : "normal",
      },
      encoding: { x, y: { ...y, field: "middle" }, text: { field: "label" } },
    }));
  return frame(width, {
    height: Math.round(lanes * LANE_PIXELS),
    layer: [
      {
        data: { values: bands },
        mark: { type: "rect", color: "var(--panel)" },
        transform: [{ filter: "datum.isOdd" }],
        encoding: { y: { ...y, field: "from" }, y2: { field: "to" } },
      },
      {
        data: { values: bands },
        mark: {
          type: "text",
          align: "left",
          baseline: "top",
          dy: 5,
          dx: 4,
          color: FAINT,
          fontSize: 11,
          fontStyle: "italic",
        },
        encoding: { x: { value: 0 }, y: { ...y, field: "from" }, text: { field: "name" } },
      },
      {
        data: { values: placed.map((point) => ({ ...point, middle: point.lane + 0.45 })) },
        layer: [
          ...[true, false].map((ahead) => ({
            transform: [{ filter: `datum.isAhead === ${ahead}` }],
            mark: { type: "point", filled: !ahead, size: ahead ? 90 : 110, opacity: 1, strokeWidth: 2.5 },
            encoding: { x, y: { ...y, field: "middle" }, color: OWN_COLOR },
          })),
          ...names(true),
          ...names(false),
        ],
      },
    ],
  });
}
