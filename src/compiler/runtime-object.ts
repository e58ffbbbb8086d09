/**
 * The guest's runtime as one object file. It is the same for all modules, and making it takes as long as a small module does, so it is kept: in the cache, beside
 * the images, and in this process for those who use no cache.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Assembler and C of guest-stubs, and the objects that come of them. */
export const RUNTIME_SOURCES: readonly string[] = [
  "boot.S",
  "ring3.S",
  "runtime.c",
  "memory.c",
  "answers.c",
  "output.c",
  "input.c",
  "start.c",
];

const DIGEST_BYTES = 32;
const known = new Map<string, Uint8Array>();

const digestOf = (object: Uint8Array): Buffer => createHash("sha256").update(object).digest();

/**
 * @param key stands for all that the object depends on
 * @param folder of the cache, or false for none
 * @param make what to do where there is none yet
 */
export async function runtimeObject(
  key: string,
  folder: string | false,
  make: () => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const found = known.get(key) ?? (folder === false ? undefined : await readKept(fileOf(folder, key)));
  const object = found ?? (await make());
  known.set(key, object);
  if (folder !== false && !found) await keep(folder, key, object);
  return object;
}

const fileOf = (folder: string, key: string): string => join(folder, `${key}.runtime`);

/** @returns undefined where there is none, or a damaged one, which is written anew later */
async function readKept(path: string): Promise<Uint8Array | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch {
    return undefined;
  }
  const object = bytes.subarray(DIGEST_BYTES);
  return digestOf(object).equals(bytes.subarray(0, DIGEST_BYTES)) ? object : undefined;
}

/** To save time the next time: who cannot write here will be told so when the image is to be written. */
async function keep(folder: string, key: string, object: Uint8Array): Promise<void> {
  const temporary = join(folder, `.${key}.${process.pid}.${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(temporary, Buffer.concat([digestOf(object), object]), { flag: "wx", mode: 0o600 });
    await rename(temporary, fileOf(folder, key));
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
}
