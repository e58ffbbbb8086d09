/** Folders, or files from memory, that are to be packed into an image: read and checked. */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { BarecellError, errorText } from "../errors.ts";
import { BUNDLE_LIMITS, type BundleNode, nameFault, rootPathFault, writeBundle } from "../image/bundle.ts";

/**
 * What a guest is to find in a directory: the path of a folder, all of which is packed; or files by their paths in the directory, with
 * slashes, as bytes or as text, which becomes UTF-8.
 */
export type BundleSource = string | URL | Readonly<Record<string, Uint8Array | string>>;

/** A folder's absolute path, or files by path. */
type CheckedSource = string | Readonly<Record<string, Uint8Array>>;
/** What is to be packed, in the order in which guests find it. */
export type CheckedBundles = readonly (readonly [guest: string, source: CheckedSource])[];

type Directory = Map<string, BundleNode>;

/** @returns copies, since packing takes time and the caller may change its objects meanwhile. @throws BARECELL_ARGUMENT_INVALID */
export function checkBundles(bundle: Readonly<Record<string, BundleSource>>): CheckedBundles {
  if (typeof bundle !== "object" || bundle === null) throw argument("bundle must be an object");
  const entries = Object.entries(bundle);
  if (entries.length > BUNDLE_LIMITS.roots)
    throw argument(`bundle has ${entries.length} directories, and the limit is ${BUNDLE_LIMITS.roots}`);
  return entries.map(([guest, source]) => {
    const fault = rootPathFault(guest);
    if (fault !== undefined) throw argument(`the path of a bundle in the guest ${fault}: '${guest}'`);
    return [guest, checkSource(`bundle['${guest}']`, source)] as const;
  });
}

function checkSource(where: string, source: BundleSource): CheckedSource {
  if (typeof source === "string") {
    if (source === "" || source.includes("\0")) throw argument(`${where} must be the path of a folder`);
    // Another thread may change the process's directory before it is read.
    return resolve(source);
  }
  if (source instanceof URL) {
    if (source.protocol !== "file:") throw argument(`${where} must be a file: URL`);
    return fileURLToPath(source);
  }
  if (typeof source !== "object" || source === null || source instanceof Uint8Array)
    throw argument(`${where} must be the path of a folder, or an object with files`);
  const files = Object.entries(source).map(([path, content]) => {
    if (typeof content === "string") return [path, Buffer.from(content)] as const;
    if (content instanceof Uint8Array) return [path, Uint8Array.from(content)] as const;
    throw argument(`${where}['${path}'] must be bytes or text`);
  });
  return Object.fromEntries(files);
}

/**
 * Packs what was checked.
 * @returns undefined if there is nothing
 * @throws BARECELL_BUNDLE_INVALID, BARECELL_FILE_UNREADABLE
 */
export async function packBundles(
  bundles: CheckedBundles,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  if (bundles.length === 0) return undefined;
  const allowance = new Allowance(maxBytes);
  const roots = [];
  for (const [guest, source] of bundles) {
    allowance.addNode(guest);
    const entries =
      typeof source === "string" ? await readRoot(source, allowance) : placeFiles(guest, source, allowance);
    roots.push({ guest, entries });
  }
  return writeBundle(roots);
}

/** What may still be packed. */
class Allowance {
  readonly #maxBytes: number;
  #bytes = 0;
  #nodes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytesLeft(): number {
    return this.#maxBytes - this.#bytes;
  }

  addNode(path: string): void {
    if (++this.#nodes > BUNDLE_LIMITS.nodes)
      throw invalid(
        path,
        `is one too many: an image holds up to ${BUNDLE_LIMITS.nodes} files and directories`,
      );
  }

  addBytes(path: string, bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#maxBytes)
      throw invalid(
        path,
        `is too large: all files together may have ${this.#maxBytes} bytes (maxBundleBytes, --max-bundle)`,
      );
  }
}

/** open(2): a handle on whatever the path names, without opening it. Node has no name for it. */
const O_PATH = 0o10000000;

/** By way of its handle, so that it is what was looked at, whatever the path means by now. */
const pathOf = (handle: FileHandle): string => `/proc/self/fd/${handle.fd}`;

async function readRoot(path: string, allowance: Allowance): Promise<Directory> {
  const handle = await open(path, O_PATH | constants.O_DIRECTORY).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  try {
    return await readFolder(handle, path, 0, allowance);
  } finally {
    await handle.close();
  }
}

/** @param shown the path for messages */
async function readFolder(
  handle: FileHandle,
  shown: string,
  depth: number,
  allowance: Allowance,
): Promise<Directory> {
  const directory: Directory = new Map();
  // As bytes: names that are not UTF-8 must be seen to be refused.
  const names = await readdir(pathOf(handle), { encoding: "buffer" }).catch((cause: unknown) => {
    throw unreadable(shown, cause);
  });
  for (const bytes of names.sort(Buffer.compare)) {
    const name = bytes.toString();
    const entry = join(shown, name);
    if (!Buffer.from(name).equals(bytes)) throw invalid(entry, "has a name that is not UTF-8");
    allowance.addNode(entry);
    directory.set(name, await readEntry(handle, name, entry, depth, allowance));
  }
  return directory;
}

/** Looked at before it is opened: opening a device can do anything, and a pipe would keep us waiting. */
async function readEntry(
  folder: FileHandle,
  name: string,
  shown: string,
  depth: number,
  allowance: Allowance,
): Promise<BundleNode> {
  const handle = await open(`${pathOf(folder)}/${name}`, O_PATH | constants.O_NOFOLLOW).catch(
    (cause: unknown) => {
      throw unreadable(shown, cause);
    },
  );
  try {
    const stats = await handle.stat();
    if (stats.isSymbolicLink()) throw invalid(shown, "is a symbolic link");
    if (stats.isDirectory()) {
      if (depth + 1 >= BUNDLE_LIMITS.depth)
        throw invalid(
          shown,
          `is too deep: an image holds up to ${BUNDLE_LIMITS.depth} directories below one another`,
        );
      return await readFolder(handle, shown, depth + 1, allowance);
    }
    if (!stats.isFile()) throw invalid(shown, "is neither a file nor a directory");
    // Before it is read; it may grow meanwhile, and what was read counts.
    if (stats.size > allowance.bytesLeft) allowance.addBytes(shown, stats.size);
    const content = await readFile(pathOf(handle));
    allowance.addBytes(shown, content.length);
    return content;
  } catch (cause) {
    throw cause instanceof BarecellError ? cause : unreadable(shown, cause);
  } finally {
    await handle.close();
  }
}

/** Files by path to a tree. */
function placeFiles(
  guest: string,
  files: Readonly<Record<string, Uint8Array>>,
  allowance: Allowance,
): Directory {
  const root: Directory = new Map();
  for (const [path, content] of Object.entries(files)) {
    const shown = `${guest}: '${path}'`;
    const names = path.split("/");
    if (names.length > BUNDLE_LIMITS.depth) throw invalid(shown, "is too deep");
    let at = root;
    for (const [i, name] of names.entries()) {
      const fault = nameFault(name);
      if (fault !== undefined) throw invalid(shown, `has a name that ${fault}`);
      const known = at.get(name);
      const isLast = i === names.length - 1;
      if (known !== undefined && (isLast || known instanceof Uint8Array))
        throw invalid(shown, "is a file and a directory at once");
      if (known === undefined) allowance.addNode(shown);
      if (isLast) {
        allowance.addBytes(shown, content.length);
        at.set(name, content);
      } else {
        const below = (known ?? new Map()) as Directory;
        at.set(name, below);
        at = below;
      }
    }
  }
  return root;
}

function argument(message: string): BarecellError {
  return new BarecellError("BARECELL_ARGUMENT_INVALID", message);
}

function invalid(path: string, what: string): BarecellError {
  return new BarecellError("BARECELL_BUNDLE_INVALID", `cannot pack ${path} into the image: it ${what}`);
}

function unreadable(path: string, cause: unknown): BarecellError {
  return new BarecellError(
    "BARECELL_FILE_UNREADABLE",
    `cannot read ${path} to pack it: ${errorText(cause)}`,
    { cause },
  );
}
