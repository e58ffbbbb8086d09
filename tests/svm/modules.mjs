// Which kernel modules must be loaded, and in which order.
//
// A kernel package holds no modules.dep: depmod writes it at installation. But each module names what it needs in its
// .modinfo section, as NUL-separated "key=value" strings, so neither depmod nor modinfo (package kmod) is called for.

import fs from "node:fs";
import path from "node:path";

/**
 * @param {string} folder the kernel's module folder, …/lib/modules/RELEASE
 * @param {readonly string[]} wanted
 * @param {(data: Buffer) => Buffer | undefined} decompress for kernels whose modules are compressed
 * @returns {{ name: string, content: Buffer }[]} each after those it needs
 */
export function resolveModules(folder, wanted, decompress) {
  /** @type {Map<string, string>} */
  const files = new Map();
  for (const entry of fs.readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (/\.ko(\.\w+)?$/.test(entry)) files.set(moduleName(entry), path.join(folder, entry));
  }
  const builtin = new Set(
    fs.readFileSync(path.join(folder, "modules.builtin"), "utf8").split("\n").map(moduleName),
  );

  /** @type {Map<string, { name: string, content: Buffer }>} */
  const loaded = new Map();
  /** @param {string} name */
  const visit = (name) => {
    if (loaded.has(name) || builtin.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new Error(`the kernel has no module ${name}`);
    const packed = fs.readFileSync(file);
    const content = file.endsWith(".ko") ? packed : decompress(packed);
    if (content === undefined)
      throw new Error(`${path.basename(file)} could not be decompressed; install xz-utils or zstd`);
    const depends = /\0depends=([^\0]*)\0/.exec(content.toString("latin1"))?.[1] ?? "";
    // Dependencies cannot be circular: the kernel could not load such modules either.
    for (const dependency of depends.split(",").filter(Boolean)) visit(moduleName(dependency));
    loaded.set(name, { name, content });
  };
  for (const name of wanted) visit(moduleName(name));
  return [...loaded.values()];
}

/**
 * A module's name from its file name; the kernel takes "-" and "_" for the same.
 * @param {string} file
 */
function moduleName(file) {
  return path
    .basename(file)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}
