/** Packages that only the report needs; who leaves out optional dependencies does not have them. */
import { BarecellError } from "barecell";

/** @throws BARECELL_BENCH_PACKAGE_MISSING */
export async function loadOptional<T>(name: "vega" | "vega-lite" | "simple-statistics"): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    throw new BarecellError(
      "BARECELL_BENCH_PACKAGE_MISSING",
      `the package ${name}, which the report is made with, cannot be loaded; install it with: npm install vega vega-lite simple-statistics`,
      { cause: error },
    );
  }
}
