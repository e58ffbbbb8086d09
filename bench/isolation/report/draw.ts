/** Specifications to SVG, without a browser. */
import { loadOptional } from "../optional.ts";
import type { Json } from "./chart.ts";

interface Vega {
  parse(spec: unknown): unknown;
  View: new (
    runtime: unknown,
    options: { renderer: "none" },
  ) => { toSVG(): Promise<string>; finalize(): void };
}
interface VegaLite {
  compile(spec: Json): { spec: unknown };
}

export type Draw = (spec: Json) => Promise<string>;

/** @throws BARECELL_BENCH_PACKAGE_MISSING */
export async function loadDraw(): Promise<Draw> {
  const vega = await loadOptional<Vega>("vega");
  const { compile } = await loadOptional<VegaLite>("vega-lite");
  let drawn = 0;
  return async (spec) => {
    const view = new vega.View(vega.parse(compile(spec).spec), { renderer: "none" });
    try {
      const svg = await view.toSVG();
      // Several pictures on a page: what they refer to by name must be their own.
      const own = `c${drawn++}-`;
      return svg
        .replace(/ id="/g, ` id="${own}`)
        .replace(/url\(#/g, `url(#${own}`)
        .replace(/(href=")#/g, `$1#${own}`);
    } finally {
      view.finalize();
    }
  };
}
