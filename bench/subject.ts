/** What a scenario boots and calls: an image, also as a file for the floor program, and a call of it whose result is known. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compile, type Image, type MicroVM } from "barecell";
import { inProject } from "./paths.ts";
import type { Settings } from "./scenario.ts";

export interface Call {
  readonly name: string;
  readonly args: readonly number[];
  readonly result: number;
}

export interface Subject {
  /** Where the module comes from, for people. */
  readonly title: string;
  readonly image: Image;
  /** The image's file. */
  readonly path: string;
  readonly call: Call;
  /** The same call for the floor program. */
  readonly floorCall: readonly string[];
}

export async function saveSubject(
  settings: Settings,
  title: string,
  image: Image,
  call: Call,
): Promise<Subject> {
  const path = join(settings.scratch, "image.cell");
  await image.save(path);
  // A function's number is its place among what can be called: functions, and globals (which have a getter).
  const callable = image.exports.filter(({ kind }) => kind === "func" || kind === "global");
  const place = callable.findIndex(({ name }) => name === call.name);
  if (place < 0) throw new Error(`the image has no export '${call.name}'`);
  return { title, image, path, call, floorCall: ["--call", String(place), ...call.args.map(String)] };
}

/** The smallest program there is. */
export async function addSubject(settings: Settings): Promise<Subject> {
  settings.progress("compiling");
  const image = await compile(readFileSync(inProject("examples", "add", "add.wasm")), { cache: false });
  return saveSubject(settings, "examples/add/add.wasm", image, { name: "add", args: [20, 22], result: 42 });
}

export function callOnce(vm: MicroVM, call: Call): void {
  check(call, vm.callSync(call.name, ...call.args));
}

/** @throws if it is another result than the known one: then nothing that was measured means anything */
export function check({ name, result }: Call, found: unknown): void {
  if (found !== result) throw new Error(`'${name}' returned ${String(found)}, not ${result}`);
}
