/** What the tests run: the package as built, so that they see what a user sees. The one place that says where it is. */
export * from "../../dist/index.js";
/** For child processes and workers, which import it by themselves. */
export const BARECELL_URL: string = new URL("../../dist/index.js", import.meta.url).href;
