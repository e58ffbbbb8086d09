// Makes sure of what the machine is built from: QEMU, a Debian kernel with its modules, a static busybox.
//
// Only QEMU is installed. Kernel and busybox are unpacked into a cache folder: installing a kernel would run
// the package's scripts (initramfs, boot loader) on a host that never wants to boot it.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Apt } from "./apt.mjs";
import { CannotRunError } from "./errors.mjs";
import { resolveModules } from "./modules.mjs";
import { lastLine, message, run, which } from "./tools.mjs";

const QEMU = "qemu-system-x86_64";
const QEMU_PACKAGE = "qemu-system-x86";
const KERNEL_METAPACKAGE = "linux-image-amd64";
/** The package behind it, such as linux-image-6.1.0-1-amd64; also of its file. */
const KERNEL_PACKAGE = /^linux-image-.+-amd64(_|$)/;
const BUSYBOX_PACKAGE = "busybox-static";
const BUSYBOX = /^busybox-static_/;

/**
 * Modules the machine asks for by name; what they depend on is added by modules.mjs.
 * A change here changes the cache folder's name, so an older cache is not taken for complete.
 */
export const MODULES = Object.freeze([
  "virtio_pci", // the bus of the two devices below
  "virtio_console", // the ports that carry output and exit status
  "9pnet_virtio", // the host's files …
  "9p",
  "overlay", // … made writable, without writing to them
  "kvm_amd", // what all this is for
]);

/** First bytes of compressed data, and the tool that unpacks it. @type {readonly [string, string][]} */
const DECOMPRESSORS = [
  ["fd377a58", "xz"],
  ["28b52ffd", "zstd"],
  ["1f8b", "gzip"],
];

/** Raised when the layout of the cache changes. */
const CACHE_FORMAT = 1;

/**
 * @typedef {object} Parts
 * @property {string} qemu path of the emulator
 * @property {string} kernel file for `-kernel`
 * @property {string} busybox static busybox
 * @property {string[]} modules kernel modules, each after those it needs
 * @property {string} release the kernel's release, for messages
 */

/**
 * @param {{ log: (line: string) => void, env?: NodeJS.ProcessEnv }} options
 * @returns {Parts}
 */
export function ensureParts({ log, env = process.env }) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new CannotRunError(
      `the machine runs the host's own x86-64 Linux programs, and this is ${process.platform} on ${process.arch}`,
      "run it on x86-64 Linux",
    );
  }
  const qemu = which(QEMU, env) ?? new Apt(log, env).install(QEMU_PACKAGE, QEMU);
  const cache = cacheFolder(env);
  const found = readCache(cache.current) ?? fillCache(cache, log, env);
  return { qemu, ...found };
}

/** @param {NodeJS.ProcessEnv} env */
function cacheFolder(env) {
  // A relative XDG_CACHE_HOME is invalid by the XDG specification, and to be ignored.
  const xdg = env["XDG_CACHE_HOME"];
  const base = xdg && path.isAbsolute(xdg) ? xdg : path.join(env["HOME"] || os.homedir(), ".cache");
  const root = path.join(base, "barecell-svm");
  return {
    debs: path.join(root, "debs"),
    current: path.join(root, `v${CACHE_FORMAT}-${MODULES.join("+")}`),
  };
}

/**
 * @param {string} folder
 * @returns {Omit<Parts, "qemu"> | undefined} undefined when the cache is empty
 */
function readCache(folder) {
  /** @type {{ release: string, kernel: string, modules: string[] }} */
  let manifest;
  try {
    manifest = JSON.parse(fs.readFileSync(path.join(folder, "manifest.json"), "utf8"));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return undefined;
    throw new CannotRunError(`the cache in ${folder} cannot be read (${message(error)})`, `rm -r ${folder}`);
  }
  return {
    release: manifest.release,
    kernel: path.join(folder, manifest.kernel),
    busybox: path.join(folder, "busybox"),
    modules: manifest.modules.map((file) => path.join(folder, file)),
  };
}

/**
 * @param {ReturnType<typeof cacheFolder>} cache
 * @param {(line: string) => void} log
 * @param {NodeJS.ProcessEnv} env
 * @returns {Omit<Parts, "qemu">}
 */
function fillCache(cache, log, env) {
  // Built aside and renamed into place: a run that is killed half-way, or two at once, leave a whole cache or none.
  const parent = path.dirname(cache.current);
  /** @type {string} */
  let work;
  try {
    fs.mkdirSync(parent, { recursive: true });
    work = fs.mkdtempSync(path.join(parent, "filling-"));
  } catch (error) {
    throw new CannotRunError(
      `no cache can be made in ${parent} (${message(error)})`,
      "set XDG_CACHE_HOME to a folder you can write to",
    );
  }
  try {
    const apt = new Apt(log, env);
    const options = { folder: work, cure: byFile(cache.debs) };
    const kernelDeb =
      findDeb(cache.debs, KERNEL_PACKAGE) ??
      apt.download(KERNEL_METAPACKAGE, { ...options, behind: KERNEL_PACKAGE });
    const busyboxDeb = findDeb(cache.debs, BUSYBOX) ?? apt.download(BUSYBOX_PACKAGE, options);
    const tree = path.join(work, "tree");
    unpack(kernelDeb, tree, env);
    unpack(busyboxDeb, tree, env);
    const ready = path.join(work, "ready");
    fs.mkdirSync(ready);
    keepWhatIsNeeded(tree, ready, env);
    try {
      fs.renameSync(ready, cache.current);
    } catch (error) {
      // Another run was faster; its cache is as good as ours.
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    }
  } catch (error) {
    if (error instanceof CannotRunError) throw error;
    throw new CannotRunError(
      `the kernel could not be prepared (${message(error)})`,
      `see that ${parent} is writable and has 600 MiB free`,
      { cause: error },
    );
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
  const filled = readCache(cache.current);
  if (filled === undefined)
    throw new CannotRunError(`the cache in ${cache.current} vanished while it was filled`, "run again");
  return filled;
}

/**
 * Copies kernel, modules and busybox out of the unpacked packages: about 70 MB instead of 400.
 * @param {string} tree
 * @param {string} ready
 * @param {NodeJS.ProcessEnv} env
 */
function keepWhatIsNeeded(tree, ready, env) {
  const boot = path.join(tree, "boot");
  const image = fs.readdirSync(boot).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Error("the kernel package holds no boot/vmlinuz-*");
  const release = image.slice("vmlinuz-".length);
  // With merged /usr the modules are under /usr/lib.
  const lib = [path.join(tree, "lib/modules", release), path.join(tree, "usr/lib/modules", release)].find(
    (dir) => fs.existsSync(dir),
  );
  if (lib === undefined) throw new Error(`the kernel package holds no modules for ${release}`);

  const plain = decompressKernel(path.join(boot, image), env);
  const kernel = plain === undefined ? "vmlinuz" : "vmlinux";
  fs.writeFileSync(path.join(ready, kernel), plain ?? fs.readFileSync(path.join(boot, image)));

  const modules = resolveModules(lib, MODULES, decompress(env)).map(({ name, content }, index) => {
    const file = `${String(index).padStart(2, "0")}-${name}.ko`;
    fs.writeFileSync(path.join(ready, file), content);
    return file;
  });

  const busybox = ["bin/busybox", "usr/bin/busybox"]
    .map((file) => path.join(tree, file))
    .find((file) => fs.existsSync(file));
  if (busybox === undefined) throw new Error("the busybox package holds no bin/busybox");
  fs.copyFileSync(busybox, path.join(ready, "busybox"));
  fs.chmodSync(path.join(ready, "busybox"), 0o755);
  fs.writeFileSync(
    path.join(ready, "manifest.json"),
    `${JSON.stringify({ release, kernel, modules }, null, 2)}\n`,
  );
}

/**
 * The plain ELF kernel out of a bzImage. QEMU starts it through its PVH entry, and so the kernel need not
 * decompress itself under emulation, which takes longer (about 4 s) than all the rest of the boot.
 * @param {string} file
 * @param {NodeJS.ProcessEnv} env
 * @returns {Buffer | undefined} undefined when it cannot be had: the bzImage boots too, later
 */
function decompressKernel(file, env) {
  const image = fs.readFileSync(file);
  // Offsets of the x86 boot protocol: setup_sects, payload_offset, payload_length. After the compressed stream
  // come four bytes with its unpacked size, which xz takes for garbage.
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const plain = decompress(env)(payload);
  return plain?.subarray(0, 4).toString("latin1") === "\x7fELF" ? plain : undefined;
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {(data: Buffer) => Buffer | undefined} undefined when the tool is missing or refuses
 */
function decompress(env) {
  return (data) => {
    const magic = data.subarray(0, 4).toString("hex");
    const tool = DECOMPRESSORS.find(([prefix]) => magic.startsWith(prefix))?.[1];
    if (tool === undefined) return undefined;
    const { status, stdout } = spawnSync(tool, ["-dc"], { input: data, maxBuffer: 1 << 30, env });
    return status === 0 ? stdout : undefined;
  };
}

/**
 * @param {string} deb
 * @param {string} folder
 * @param {NodeJS.ProcessEnv} env
 */
function unpack(deb, folder, env) {
  if (which("dpkg-deb", env) === undefined)
    throw new CannotRunError(
      "there is no dpkg-deb to unpack the kernel with",
      "install Debian's package dpkg",
    );
  const result = run("dpkg-deb", ["-x", deb, folder], env);
  if (result.status !== 0)
    throw new CannotRunError(
      `${path.basename(deb)} could not be unpacked: ${lastLine(result)}`,
      `see that the disk has 600 MiB free${deb.includes("filling-") ? "" : `, or remove ${deb}`}`,
    );
}

/**
 * @param {string} folder
 * @param {RegExp} pattern
 */
function findDeb(folder, pattern) {
  if (!fs.existsSync(folder)) return undefined;
  const name = fs.readdirSync(folder).find((entry) => entry.endsWith(".deb") && pattern.test(entry));
  return name && path.join(folder, name);
}

/** @param {string} folder */
function byFile(folder) {
  return [
    "see to the network and apt's package lists (as root: apt-get update),",
    `or put the Debian packages linux-image-<version>-amd64 and ${BUSYBOX_PACKAGE} (.deb files) into ${folder}`,
  ].join(" ");
}
