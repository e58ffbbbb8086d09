/** `barecell inspect`. */
import { BC_LINEAR_MAX_BYTES, BC_LINEAR_REACH_END, BC_PORT_IMPORT_BASE, BC_STACK_HOLE_BASE } from "../abi.ts";
import type { Image } from "../image/image.ts";
import { linearVirtual, type Segment } from "../image/layout.ts";
import { type ImageExport, type ImageMemory, mainModule, type Signature } from "../image/manifest.ts";
import { obtainImage } from "./input.ts";
import { EXIT, printJson } from "./report.ts";
import type { Invocation } from "./table.ts";
import { columns, printableName, spellBytes, stdout } from "./terminal.ts";

/** `(i32, i32) -> (i32)` */
export function spellSignature(type: Signature): string {
  return `(${type.params.join(", ")}) -> (${type.results.join(", ")})`;
}

/** Runs the command. @returns the exit status */
export async function inspect({ operands, options }: Invocation<"inspect">): Promise<number> {
  const { image } = await obtainImage(operands[0] ?? "", options);
  const description = describeImage(image);
  if (options.json) printJson({ ok: true, ...description });
  else printDescription(description);
  return EXIT.ok;
}

/** A range of guest-virtual addresses; `to` is the first after it. */
interface MapRange {
  readonly from: string;
  readonly to: string;
  readonly what: string;
  readonly permissions: string;
}

type Description = ReturnType<typeof describeImage>;

const hex = (value: number): string => `0x${value.toString(16)}`;

const permissionsOf = (segment: Segment): string =>
  `${segment.read ? "r" : "-"}${segment.write ? "w" : "-"}${segment.execute ? "x" : "-"}`;

/** All that `--json` shows. */
function describeImage(image: Image) {
  const { manifest, layout } = image;
  const main = mainModule(manifest);
  return {
    name: image.name,
    module: { digest: main.digest, sizeBytes: main.sizeBytes },
    modules: manifest.modules.map((module) => ({
      name: module.name,
      digest: module.digest,
      sizeBytes: module.sizeBytes,
      memory: module.memory,
      hasStart: module.hasStart,
      exports: module.exports.map(describeExport),
    })),
    abiVersion: manifest.abiVersion,
    targetCpu: manifest.targetCpu,
    metering: manifest.metering,
    producer: manifest.producer,
    digest: image.digest,
    sizeBytes: image.bytes.length,
    exports: main.exports.map(describeExport),
    imports: manifest.imports.map(({ module, name, type, importer }, i) => ({
      module,
      name,
      type,
      importer: manifest.modules[importer]?.name ?? "",
      port: hex(BC_PORT_IMPORT_BASE + i),
    })),
    hasStart: main.hasStart,
    memory: main.memory === null ? null : (manifest.memories[main.memory] ?? null),
    memories: manifest.memories,
    tables: manifest.tables,
    bundles: image.bundles,
    stackBytes: layout.header.stackBytes,
    segments: layout.segments.map((segment) => ({
      purpose: segment.purpose,
      virtual: hex(segment.virtual),
      physical: hex(segment.physical),
      permissions: permissionsOf(segment),
      ring: segment.user ? 3 : 0,
      fileOffset: segment.fileOffset,
      fileBytes: segment.fileBytes,
      memoryBytes: segment.memoryBytes,
    })),
    memoryMap: memoryMap(image),
  };
}

/** Name, kind and type, without the numbers that only barecell needs. */
function describeExport(entry: ImageExport) {
  const { name, kind } = entry;
  if (entry.kind === "func") return { name, kind, type: entry.type };
  if (entry.kind === "global") return { name, kind, type: entry.type, mutable: entry.mutable };
  return entry.kind === "memory" ? { name, kind, memory: entry.memory } : { name, kind };
}

function spellExportType(entry: ReturnType<typeof describeExport>): string {
  if (!("type" in entry)) return "memory" in entry ? `memory ${entry.memory}` : "";
  if (typeof entry.type !== "string") return spellSignature(entry.type);
  return `${"mutable" in entry && entry.mutable ? "mutable " : ""}${entry.type}`;
}

/** What a guest finds at its addresses, and what it does not. */
function memoryMap({ layout, manifest }: Image): MapRange[] {
  const ranges: { from: number; to: number; what: string; permissions: string }[] = [];
  const add = (from: number, to: number, what: string, permissions = "---"): void => {
    if (to > from) ranges.push({ from, to, what, permissions });
  };
  for (const segment of layout.segments) {
    if (segment.purpose === "linear memory") continue;
    const what =
      segment.user || segment.purpose === "page tables" ? segment.purpose : "supervisor (boot stub, tables)";
    add(segment.virtual, segment.virtual + segment.memoryBytes, what, permissionsOf(segment));
  }
  if (manifest.memories.length === 0) add(0, BC_LINEAR_REACH_END, "never mapped: there is no linear memory");
  manifest.memories.forEach(({ minBytes, maxBytes }, i) => {
    const base = linearVirtual(i);
    const most = base + (maxBytes ?? BC_LINEAR_MAX_BYTES);
    const name = `linear memory${i === 0 ? "" : ` ${i}`}`;
    add(base, base + minBytes, name, "rw-");
    add(base + minBytes, most, "room for memory.grow, not mapped yet");
    add(most, base + BC_LINEAR_REACH_END, `never mapped: past the end of ${name}`);
  });
  const stack = layout.segments.find((segment) => segment.purpose === "stack");
  add(BC_STACK_HOLE_BASE, stack?.virtual ?? 0, "never mapped: the hole below the stack");
  return ranges
    .sort((a, b) => a.from - b.from)
    .map(({ from, to, what, permissions }) => ({ from: hex(from), to: hex(to), what, permissions }));
}

function printDescription(image: Description): void {
  const title = (text: string): void => stdout.line(`\n${stdout.style("bold", text)}`);
  const table = (rows: readonly (readonly string[])[], right: readonly number[] = []): void => {
    for (const row of columns(rows, right)) stdout.line(`  ${row}`);
    if (rows.length === 0) stdout.line("  none");
  };
  stdout.line(stdout.style("bold", printableName(image.name)));
  table([
    ["image", `${spellBytes(image.sizeBytes)}, SHA-256 ${image.digest}`],
    ...image.modules.map(({ name, digest, sizeBytes }) => [
      image.modules.length === 1 ? "module" : `module ${printableName(name)}`,
      `${spellBytes(sizeBytes)}, SHA-256 ${digest}`,
    ]),
    ["made by", `barecell ${image.producer.barecell}, ${image.producer.compiler}`].map(printableName),
    ["for", `ABI version ${image.abiVersion}, ${image.targetCpu}${image.metering ? ", counts fuel" : ""}`],
    ["linear memory", image.memories.map(spellMemory).join("; ") || "none"],
    ["stack", spellBytes(image.stackBytes)],
    ["start function", image.modules.some(({ hasStart }) => hasStart) ? "yes" : "no"],
  ]);
  for (const module of image.modules) {
    title(image.modules.length === 1 ? "Exports" : `Exports of ${printableName(module.name)}`);
    table(module.exports.map((entry) => [entry.kind, printableName(entry.name), spellExportType(entry)]));
  }
  title("Imports");
  table(
    image.imports.map((entry) => [
      entry.port,
      printableName(`${entry.module}.${entry.name}`),
      spellSignature(entry.type),
    ]),
  );
  title("Tables");
  table(image.tables.map(({ element, min, capacity }) => [element, `${min} elements, room for ${capacity}`]));
  if (image.bundles.length > 0) {
    title("Bundles");
    table(
      image.bundles.map(({ guest, files, directories, sizeBytes }) => [
        printableName(guest),
        `${files} files`,
        `${directories} directories`,
        spellBytes(sizeBytes),
      ]),
      [1, 2, 3],
    );
  }
  title("Segments");
  table(
    image.segments.map((segment) => [
      segment.purpose,
      segment.permissions,
      `ring ${segment.ring}`,
      segment.virtual,
      `physical ${segment.physical}`,
      spellBytes(segment.memoryBytes),
      `${segment.fileBytes} from the file`,
    ]),
    [3, 5, 6],
  );
  title("Memory map");
  table(
    image.memoryMap.map(({ from, to, what, permissions }) => [from, to, permissions, what]),
    [0, 1],
  );
}

function spellMemory(memory: ImageMemory): string {
  const most = memory.maxBytes === null ? "no maximum" : `at most ${spellBytes(memory.maxBytes)}`;
  return `${spellBytes(memory.minBytes)}, ${most}`;
}
