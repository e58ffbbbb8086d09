/** What all pictures have in common: fonts, axes, and the scale of times. Vega-Lite specifications are plain JSON. */
import { FAINT, GRID, INK } from "./colors.ts";
import { digits } from "./format.ts";

export type Json = Readonly<Record<string, unknown>>;

/** A picture in one width. */
export interface Chart {
  readonly spec: Json;
}

/** Widths of a page on a desk and on a phone: a picture is drawn for each, since scaling one would make its text too small. */
export const WIDTHS = { wide: 880, narrow: 340 } as const;
export type Width = keyof typeof WIDTHS;

/** Room for the longest name on a phone, pixels. */
const NARROW_NAMES = 118;

/** Titles on a phone are only their first part. */
export const titleFor = (width: Width, title: string): string =>
  width === "wide" ? title : (title.split(",")[0] ?? title);

export const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

/** The outermost part of every specification. */
export function frame(width: Width, spec: Json): Json {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "transparent",
    autosize: { type: "fit-x", contains: "padding" },
    width: WIDTHS[width],
    padding: 4,
    ...spec,
    config: {
      font: FONT,
      aria: false,
      view: { stroke: null },
      axis: {
        labelColor: INK,
        titleColor: FAINT,
        titleFontWeight: "normal",
        labelFontSize: width === "wide" ? 12 : 11,
        titleFontSize: 12,
        gridColor: GRID,
        domain: false,
        ticks: false,
        labelPadding: 6,
        labelLimit: width === "wide" ? 260 : 400,
        // Letters are wider to the library, which has no font, than to a browser.
        ...(width === "wide" ? {} : { maxExtent: NARROW_NAMES }),
      },
      legend: { labelColor: INK, titleColor: FAINT, labelFontSize: 12, symbolSize: 90 },
      text: { color: INK, fontSize: 11.5 },
    },
  };
}

const TICKS_US = [0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7];

/** Pixels between the axis's names and the picture's end, about. */
const PLOT_PIXELS = { wide: 720, narrow: 205 } as const;

/**
 * Where a log scale must end so that there is room for a label to the right of its greatest value.
 * @param labelPixels the label's length
 */
export function roomFor(from: number, greatest: number, width: Width, labelPixels = 62): number {
  const share = labelPixels / PLOT_PIXELS[width];
  return greatest * (Math.max(greatest, from * 10) / from) ** (share / (1 - share));
}

/** Where the axis of times begins. */
export const timeFloor = (least: number): number => 10 ** Math.floor(Math.log10(Math.max(least, 0.05)));

/** A log axis of microseconds with words that people use. @param from and to: the least and greatest value to be seen */
export function timeAxis(field: string, from: number, to: number, title: string): Json {
  const low = timeFloor(from);
  return {
    field,
    type: "quantitative",
    scale: { type: "log", domain: [low, to], nice: false },
    axis: {
      title,
      values: TICKS_US,
      labelExpr:
        "datum.value >= 1000000 ? datum.value / 1000000 + ' s' : datum.value >= 1000 ? datum.value / 1000 + ' ms' : datum.value + ' µs'",
      orient: "top",
    },
  };
}

/** The names of our own peers stand out. */
export function peerAxis(sort: readonly string[], own: readonly string[]): Json {
  const isOwn = `indexof(${JSON.stringify(own)}, datum.value) >= 0`;
  return {
    field: "peer",
    type: "nominal",
    sort,
    axis: {
      title: null,
      labelFontWeight: { condition: { test: isOwn, value: "bold" }, value: "normal" },
      labelColor: { condition: { test: isOwn, value: "var(--own)" }, value: INK },
    },
  };
}

/** Colours that the data bring themselves. */
export const OWN_COLOR: Json = { field: "color", type: "nominal", scale: null };

export { digits };
