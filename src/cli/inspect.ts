/** `barecell inspect`. */
import { BC_LINEAR_MAX_BYTES, BC_LINEAR_REACH_END, BC_PORT_IMPORT_BASE, BC_STACK_HOLE_BASE } from "../abi.ts";
import type { Image } from "../image/image.ts";
import type { Segment } from "../image/layout.ts";
import type { Signature } from "../image/manifest.ts";
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
  return {
    name: manifest.module.name,
    module: { digest: manifest.module.digest, sizeBytes: manifest.module.sizeBytes },
    abiVersion: manifest.abiVersion,
    targetCpu: manifest.targetCpu,
    producer: manifest.producer,
    digest: image.digest,
    sizeBytes: image.bytes.length,
    exports: manifest.exports.map(({ name, kind, type }) => ({ name, kind, ...(type ? { type } : {}) })),
    imports: manifest.imports.map(({ module, name, type }, i) => ({
      module,
      name,
      type,
      port: hex(BC_PORT_IMPORT_BASE + i),
    })),
    hasStart: manifest.hasStart,
    memory: manifest.memory,
    tables: manifest.tables,
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
  const { linearBytes } = layout;
  const most = manifest.memory ? (manifest.memory.maxBytes ?? BC_LINEAR_MAX_BYTES) : 0;
  add(0, linearBytes, "linear memory", "rw-");
  add(linearBytes, most, "room for memory.grow, not mapped yet");
  add(most, BC_LINEAR_REACH_END, "never mapped: past the end of linear memory");
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
    ["module", `${spellBytes(image.module.sizeBytes)}, SHA-256 ${image.module.digest}`],
    ["made by", `barecell ${image.producer.barecell}, ${image.producer.compiler}`].map(printableName),
    ["for", `ABI version ${image.abiVersion}, ${image.targetCpu}`],
    ["linear memory", spellMemory(image.memory)],
    ["stack", spellBytes(image.stackBytes)],
    ["start function", image.hasStart ? "yes" : "no"],
  ]);
  title("Exports");
  table(
    image.exports.map((entry) => [
      entry.kind,
      printableName(entry.name),
      "type" in entry && entry.type ? spellSignature(entry.type) : "",
    ]),
  );
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

function spellMemory(memory: Description["memory"]): string {
  if (memory === null) return "none";
  const most = memory.maxBytes === null ? "no maximum" : `at most ${spellBytes(memory.maxBytes)}`;
  return `${spellBytes(memory.minBytes)}, ${most}`;
}
