/** What can be packed into an image, and what is refused. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BundleSource, CompileOptions, Image } from "../support/barecell.ts";
import { failure } from "../support/errors.ts";
import { imageOf } from "../support/modules.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "barecell-bundle-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const pack = (source: unknown, options: CompileOptions = {}): Promise<Image> =>
  imageOf("pack", "(module)", { bundle: { "/data": source as BundleSource }, ...options });
const refused = (source: unknown, options: CompileOptions = {}) =>
  failure(() => pack(source, options), "BARECELL_BUNDLE_INVALID");
const misused = (source: unknown) => failure(() => pack(source), "BARECELL_ARGUMENT_INVALID");

function fill(): void {
  mkdirSync(join(folder, "a/b"), { recursive: true });
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, "a/b/deep"), "deep");
  writeFileSync(join(folder, "a/file"), Buffer.alloc(1000, 7));
  writeFileSync(join(folder, "ü"), "");
}

describe("folders", () => {
  it("are packed with all that is in them", async () => {
    fill();
    const { bundles } = await pack(folder);
    expect(bundles).toEqual([{ guest: "/data", files: 3, directories: 3, sizeBytes: 1004 }]);
    expect((await pack(pathToFileURL(folder))).bundles).toEqual(bundles);
  });

  it("of equal files make equal images, whatever their times and permissions are", async () => {
    fill();
    const first = await pack(folder);
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    fill();
    utimesSync(join(folder, "a/file"), 1, 1);
    chmodSync(join(folder, "a/file"), 0o700);
    const second = await pack(folder);
    expect(second.digest).toBe(first.digest);
    expect(Buffer.compare(second.bytes, first.bytes)).toBe(0);
    const files = { ü: "", "a/file": Buffer.alloc(1000, 7), "a/b/deep": "deep" };
    expect((await pack(files)).digest).not.toBe(first.digest); // no empty directory
    rmSync(join(folder, "empty"), { recursive: true });
    expect((await pack(files)).digest).toBe((await pack(folder)).digest);
  });

  it("may be named through a link, but have none inside", async () => {
    fill();
    const link = `${folder}-link`;
    symlinkSync(folder, link);
    try {
      expect((await pack(link)).bundles[0]?.files).toBe(3);
    } finally {
      rmSync(link);
    }
    for (const target of ["ü", "a", "/etc/passwd", "nowhere"]) {
      symlinkSync(target, join(folder, "a/link"));
      expect((await refused(folder)).message).toContain(
        `${join(folder, "a/link")} into the image: it is a symbolic link`,
      );
      rmSync(join(folder, "a/link"));
    }
  });

  it("have no pipes, sockets or devices", async () => {
    execFileSync("mkfifo", [join(folder, "pipe")]);
    expect((await refused(folder)).message).toContain("neither a file nor a directory");
    rmSync(join(folder, "pipe"));
    const server = createServer().listen(join(folder, "socket"));
    await new Promise((done) => server.once("listening", done));
    expect((await refused(folder)).message).toContain("neither a file nor a directory");
    await new Promise((done) => server.close(done));
    expect((await refused("/dev")).message).toMatch(/symbolic link|neither a file nor a directory/);
  });

  it("have names in UTF-8", async () => {
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/x`), Buffer.from([0xff])]), "");
    expect((await refused(folder)).message).toContain("not UTF-8");
  });

  it("that cannot be read are named", async () => {
    for (const path of [join(folder, "missing"), "/etc/passwd"]) {
      const error = await failure(() => pack(path), "BARECELL_FILE_UNREADABLE");
      expect(error.message).toContain(path);
    }
  });

  it("are limited in bytes, files and depth", async () => {
    fill();
    expect((await pack(folder, { maxBundleBytes: 1004 })).bundles).toHaveLength(1);
    expect((await refused(folder, { maxBundleBytes: 1003 })).message).toContain("maxBundleBytes");
    // As large as it says it is; nothing of it is read.
    execFileSync("truncate", ["-s", "1T", join(folder, "huge")]);
    expect((await refused(folder)).message).toContain("huge");
    rmSync(join(folder, "huge"));
    const deep = Array.from({ length: 64 }, () => "d").join("/");
    mkdirSync(join(folder, deep.slice(2)), { recursive: true });
    expect((await pack(folder)).bundles[0]?.directories).toBe(3 + 63);
    mkdirSync(join(folder, deep));
    expect((await refused(folder)).message).toContain("too deep");
  });
});

describe("files from memory", () => {
  it("are bytes or text", async () => {
    const bytes = new Uint8Array([0xff, 0]);
    const packed = pack({ a: "ä", "b/c": bytes, "b/d": "" });
    bytes.fill(1); // a copy was taken
    const { bundles, digest } = await packed;
    expect(bundles).toEqual([{ guest: "/data", files: 3, directories: 1, sizeBytes: 4 }]);
    expect(digest).toBe((await pack({ "b/d": "", "b/c": new Uint8Array([0xff, 0]), a: "ä" })).digest);
  });

  it.each([
    [""],
    ["/a"],
    ["a/"],
    ["a//b"],
    ["."],
    ["a/../b"],
    ["a\0b"],
    ["\ud800"],
    ["x".repeat(256)],
    [Array.from({ length: 65 }, () => "d").join("/")],
  ])("have names that stay inside: %j", async (path) => {
    await refused({ [path]: "" });
  });

  it("are not directories too", async () => {
    await refused({ a: "", "a/b": "" });
    await refused({ "a/b": "", a: "" });
  });

  it("are limited in number", async () => {
    const files = Object.fromEntries(Array.from({ length: 65_536 }, (_, i) => [`f${i}`, ""]));
    expect((await refused(files)).message).toContain("65536");
  });
});

describe("options", () => {
  it("have the types that they should have", async () => {
    for (const source of [
      undefined,
      null,
      5,
      "",
      "a\0b",
      new Uint8Array(1),
      { a: 5 },
      new URL("https://example.org/"),
    ])
      await misused(source);
    for (const bundle of [5, { "": folder }, { "a\0b": folder }, { ["x".repeat(4096)]: folder }])
      await failure(
        () => imageOf("pack", "(module)", { bundle } as unknown as CompileOptions),
        "BARECELL_ARGUMENT_INVALID",
      );
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`/${i}`, {}]));
    await failure(() => imageOf("pack", "(module)", { bundle: many }), "BARECELL_ARGUMENT_INVALID");
    await failure(() => pack({}, { maxBundleBytes: 2 ** 30 + 1 }), "BARECELL_ARGUMENT_INVALID");
    expect((await imageOf("pack", "(module)", { bundle: {} })).bundles).toEqual([]);
  });
});
