/** What is compared: a few modules that import from one another, and the calls to make. Everything in it can be saved and read again. */
import type { FuncType } from "../wasm/module.ts";
import type { NanRule } from "./nan.ts";

export interface UnitModule {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Import module name to the name of an earlier module of the unit. */
  readonly link: Readonly<Record<string, string>>;
}

export interface Call {
  readonly module: string;
  readonly export: string;
  readonly type: FuncType;
  /** The bits of each argument; an externref is a number, 0 for null. */
  readonly args: readonly bigint[];
}

export interface Unit {
  /** What it was made from, for people. */
  readonly origin: string;
  readonly modules: readonly UnitModule[];
  readonly calls: readonly Call[];
  /** How its NaNs are determined; undefined where nothing was done about them. */
  readonly nan?: NanRule | undefined;
}
