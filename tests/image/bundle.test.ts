/** The format of files packed into an image; and images whose bundle is damaged or forged. */
import { describe, expect, it } from "vitest";
import { BC_PT_BUNDLE } from "../../src/abi.ts";
import { type BundleNode, readBundle, writeBundle } from "../../src/image/bundle.ts";
import { readElf } from "../../src/image/elf-reader.ts";
import { Image } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";
import { resealed } from "../support/raw-code.ts";

const PT_NOTE = 4;
const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const tree = (entries: Record<string, BundleNode>): Map<string, BundleNode> =>
  new Map(Object.entries(entries));

const sample = (): Buffer =>
  Buffer.from(
    writeBundle([
      {
        guest: "/data",
        entries: tree({
          ü: text(""),
          hello: text("hello, bundle"),
          e: tree({}),
          a: tree({ f: text("in a"), b: tree({ deep: text("down") }) }),
        }),
      },
      { guest: "/more", entries: tree({ x: text("xyz") }) },
    ]),
  );

/** Where the table's entry of a name stands. Names of the sample in the order of the table. */
const NAMES = ["/data", "/more", "a", "e", "hello", "ü", "x", "b", "f", "deep"];
const nodeAt = (name: string): number => 32 + 16 * NAMES.indexOf(name);

describe("the format", () => {
  it("is written in the one order that it has", () => {
    const bytes = sample();
    expect(bytes.toString("latin1", 0, 8)).toBe("bcbundle");
    expect([8, 12, 16].map((at) => bytes.readUInt32LE(at))).toEqual([1, 2, NAMES.length]);
    const names = NAMES.join("");
    const contents = "hello, bundlexyzin adown";
    expect(bytes.subarray(32 + 16 * NAMES.length).toString()).toBe(names + contents);
    expect(NAMES.map((name) => Number(bytes.readBigUInt64LE(nodeAt(name))))).toEqual([
      4, 1, 2, 0, 13, 0, 3, 1, 4, 4,
    ]);
  });

  it("does not depend on the order in which files are given", () => {
    const entries = { b: text("2"), a: text("1"), c: tree({ z: text(""), y: text("") }) };
    const reversed = { c: tree({ y: text(""), z: text("") }), a: text("1"), b: text("2") };
    const [one, other] = [entries, reversed].map((each) =>
      writeBundle([{ guest: "/", entries: tree(each) }]),
    );
    expect(one).toEqual(other);
  });

  it("is read as it was written", () => {
    expect(readBundle(sample())).toEqual([
      { guest: "/data", files: 4, directories: 3, sizeBytes: 21 },
      { guest: "/more", files: 1, directories: 0, sizeBytes: 3 },
    ]);
  });
});

describe("a damaged bundle is refused", () => {
  const refused = (bytes: Uint8Array): void =>
    expect(() => readBundle(bytes)).toThrow(expect.objectContaining({ code: "BARECELL_IMAGE_INVALID" }));
  const u32 = (at: number, value: number) => (bytes: Buffer) => bytes.writeUInt32LE(value, at);
  const u64 = (at: number, value: bigint) => (bytes: Buffer) => bytes.writeBigUInt64LE(value, at);
  const name = (of: string, by: string) => (bytes: Buffer) => {
    const at = 32 + 16 * NAMES.length + Buffer.byteLength(NAMES.slice(0, NAMES.indexOf(of)).join(""));
    bytes.write(by, at, "latin1");
  };
  const changes: [string, (bytes: Buffer) => unknown][] = [
    ["magic", u32(0, 0)],
    ["version", u32(8, 2)],
    ["no roots", u32(12, 0)],
    ["more roots than nodes", u32(12, NAMES.length + 1)],
    ["a root that is a file", u32(12, 5)],
    ["one node more", u32(16, NAMES.length + 1)],
    ["2^32 - 1 nodes", u32(16, 0xffff_ffff)],
    ["bytes of names", u32(20, 0xffff_ffff)],
    ["bytes of contents", u64(24, 0xffff_ffff_ffff_ffffn)],
    ["a kind", u32(nodeAt("x") + 12, 2)],
    ["a length of a name", u32(nodeAt("x") + 8, 0xffff_ffff)],
    ["a file's size", u64(nodeAt("x"), 0xffff_ffff_ffff_ffffn)],
    ["a file's size by one", u64(nodeAt("x"), 4n)],
    ["entries", u64(nodeAt("e"), 0xffff_ffff_ffff_ffffn)],
    ["one entry too many", u64(nodeAt("e"), 1n)],
    ["one entry too few", u64(nodeAt("b"), 0n)],
    ["roots with one path", name("/more", "/data")],
    ["a dot", name("e", ".")],
    ["a slash", name("e", "/")],
    ["a NUL", name("e", "\0")],
    ["no UTF-8", name("e", "\xff")],
    ["half a character", name("ü", "\xc3x")],
    ["a name twice", name("e", "a")],
    ["names out of order", name("e", "z")],
  ];
  it.each(changes)("%s", (_, change) => {
    const bytes = sample();
    change(bytes);
    refused(bytes);
  });

  it("cut off at any byte, or with a byte more", () => {
    const bytes = sample();
    for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length));
    refused(Buffer.concat([bytes, Buffer.alloc(1)]));
  });

  it("with too many directories below one another, or too many files", () => {
    const deep = (levels: number): Uint8Array => {
      let entries = tree({ f: text("") });
      for (let i = 1; i < levels; i++) entries = tree({ d: entries });
      return writeBundle([{ guest: "/", entries }]);
    };
    expect(readBundle(deep(64))).toEqual([{ guest: "/", files: 1, directories: 63, sizeBytes: 0 }]);
    refused(deep(65));
    const wide = (files: number): Uint8Array =>
      writeBundle([
        {
          guest: "/",
          entries: new Map(Array.from({ length: files }, (_, i) => [`f${i}`, new Uint8Array(0)])),
        },
      ]);
    expect(readBundle(wide(65_535))[0]?.files).toBe(65_535);
    refused(wide(65_536));
  });
});

describe("an image with a bundle", async () => {
  const image = await imageOf("bundled", "(module)", { bundle: { "/data": { hello: "hello", "a/b": "" } } });
  const plain = await imageOf("bundled", "(module)");
  const offset = image.elf.segments.find(({ type }) => type === BC_PT_BUNDLE)?.offset ?? 0;

  it("tells what is in it", () => {
    expect(image.bundles).toEqual([{ guest: "/data", files: 2, directories: 1, sizeBytes: 5 }]);
    expect(plain.bundles).toEqual([]);
    expect(Image.fromBytes(image.bytes).bundles).toEqual(image.bundles);
    expect(image.digest).not.toBe(plain.digest);
  });

  it("has the same guest memory as without", () => expect(image.layout).toEqual(plain.layout));

  it("begins the bundle on a page", () => {
    expect(offset % 4096).toBe(0);
    expect(Buffer.from(image.bytes).toString("latin1", offset, offset + 8)).toBe("bcbundle");
  });

  it("is refused if a file in it was altered: the digest is over all of it", async () => {
    const bytes = Uint8Array.from(image.bytes);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    const error = await failure(() => Image.fromBytes(bytes), "BARECELL_IMAGE_INVALID");
    expect(error.message).toContain("digest");
    for (const length of [offset, offset + 1, image.bytes.length - 1])
      await failure(() => Image.fromBytes(image.bytes.subarray(0, length)), "BARECELL_IMAGE_INVALID");
  });

  it("is refused if it was forged, digest and all", async () => {
    const forged = resealed(image.bytes, (bytes) => bytes.set([2], offset + 8));
    const error = await failure(() => Image.fromBytes(forged), "BARECELL_IMAGE_INVALID");
    expect(error.message).toContain("bundle");
  });

  it("is refused if it has two, or one that lies elsewhere", async () => {
    const headers = Number(new DataView(image.bytes.buffer).getBigUint64(32, true));
    const types = readElf(image.bytes).segments.map(({ type }) => type);
    const at = (index: number): number => headers + 56 * index;
    // In place of the note's, by which nothing is found.
    const twice = resealed(image.bytes, (bytes) => {
      bytes.copyWithin(
        at(types.indexOf(PT_NOTE)),
        at(types.indexOf(BC_PT_BUNDLE)),
        at(types.indexOf(BC_PT_BUNDLE) + 1),
      );
    });
    const error = await failure(() => Image.fromBytes(twice), "BARECELL_IMAGE_INVALID");
    expect(error.message).toContain("several");
    for (const [field, value] of [
      [8, 0n],
      [8, BigInt(image.bytes.length)],
      [8, 2n ** 53n - 1n],
      [32, 1n],
      [32, 2n ** 53n - 1n],
    ] as const) {
      const moved = resealed(image.bytes, (bytes) => {
        new DataView(bytes.buffer).setBigUint64(at(types.indexOf(BC_PT_BUNDLE)) + field, value, true);
      });
      await failure(() => Image.fromBytes(moved), "BARECELL_IMAGE_INVALID");
    }
  });
});
