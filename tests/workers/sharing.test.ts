/** All processes of a pool map the same pages of an image; and nobody can pass another file off as it. */
import { fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { adoptImage, imageFd } from "../../dist/vm/native-image.js";
import { Image } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { one, two, withWorkers } from "./guest.ts";

interface ImageMapping {
  readonly inode: string;
  /** Pages of the file, each counted as often as it is mapped; and each divided by how often it is mapped anywhere. */
  readonly mappedKib: number;
  readonly proportionalKib: number;
}

/** Of the image files of one process. */
function imageMappings(pid: number): ImageMapping[] {
  const smaps = readFileSync(`/proc/${pid}/smaps`, "utf8");
  const blocks = smaps.matchAll(/^\S+ \S+ \S+ \S+ (\d+)\s+\/memfd:barecell-image[^\n]*\n((?:\w+:.*\n)+)/gm);
  return [...blocks].map(([, inode = "", text = ""]) => {
    const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
    // What a guest has written is a copy of its own.
    return {
      inode,
      mappedKib: kib("Rss") - kib("Anonymous"),
      proportionalKib: kib("Pss") - kib("Anonymous"),
    };
  });
}

const sum = (mappings: readonly ImageMapping[], key: "mappedKib" | "proportionalKib"): number =>
  mappings.reduce((total, mapping) => total + mapping[key], 0);

it("an image is in memory once, for all VMs of all processes", () =>
  withWorkers(one, { min: 30, max: 30, processes: 3 }, async (pool) => {
    await pool.ready();
    const all = pool.pids.map(imageMappings);
    expect(all.map((mappings) => mappings.length >= 10)).toEqual([true, true, true]);
    expect(new Set(all.flat().map(({ inode }) => inode)).size).toBe(1);
    const fileKib = fstatSync(imageFd(one)).blocks / 2;
    expect(sum(all.flat(), "mappedKib")).toBeGreaterThan(5 * fileKib);
    for (const mappings of all) expect(sum(mappings, "mappedKib")).toBeGreaterThan(fileKib);
    expect(sum(all.flat(), "proportionalKib")).toBeLessThanOrEqual(fileKib);
  }));

it("each image's file is another one", () =>
  withWorkers({ one, two }, { max: 2 }, async (pool) => {
    await pool.ready();
    const [pid] = pool.pids;
    expect(new Set(imageMappings(pid as number).map(({ inode }) => inode)).size).toBe(2);
  }));

/** A descriptor of its own for the same file. */
const dup = (fd: number): number => openSync(`/proc/self/fd/${fd}`, "r");

it("a file that holds something else, is not sealed or is none, is refused", async () => {
  const copy = (): Image => Image.fromBytes(one.bytes);
  const openFds = (): number => readdirSync("/proc/self/fd").length;
  const other = dup(imageFd(two));
  const error = await failure(() => adoptImage(copy(), other), "BARECELL_IMAGE_INVALID");
  expect(error.message).toMatch(/another size|something else/);
  const notSealed = openSync(fileURLToPath(import.meta.url), "r");
  await failure(() => adoptImage(copy(), notSealed), "BARECELL_IMAGE_INVALID");
  const before = openFds();
  await failure(() => adoptImage(copy(), 9999), "BARECELL_IMAGE_INVALID");
  expect(openFds()).toBe(before);
  adoptImage(copy(), dup(imageFd(one)));
});
