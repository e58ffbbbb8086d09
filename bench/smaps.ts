/** A process's memory by what it is for, from /proc/PID/smaps. */

/** Kinds of mappings of a process with VMs. */
export type MappingKind =
  | "image pages"
  | "guest memory without a file"
  | "kvm_run"
  | "heap and stacks"
  | "programs and files";

/** Bytes. */
export interface MappingSize {
  readonly mappings: number;
  readonly resident: number;
  /** Each page counted for the share of the mappings that have it, in all processes. */
  readonly proportional: number;
  /** Mapped more than once. Pages of a memory file count as dirty, written or not. */
  readonly shared: number;
  /** Of no file, or copied from one when they were written. */
  readonly own: number;
}

interface Mapping {
  readonly start: string;
  readonly end: string;
  readonly inode: string;
  readonly name: string;
  readonly kib: Readonly<Record<string, number>>;
}

const HEADER = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) *(.*)$/;
const FIELD = /^(\w+): +(\d+) kB$/;

export function parseSmaps(text: string): Mapping[] {
  const mappings: (Mapping & { kib: Record<string, number> })[] = [];
  for (const line of text.split("\n")) {
    const header = HEADER.exec(line);
    if (header) {
      const [, start = "", end = "", inode = "", name = ""] = header;
      mappings.push({ start, end, inode, name, kib: {} });
      continue;
    }
    const last = mappings.at(-1);
    const field = FIELD.exec(line);
    if (last && field?.[1]) last.kib[field[1]] = Number(field[2]);
  }
  return mappings;
}

/** Memory files of barecell and of the floor program. */
const isImage = ({ name }: Mapping): boolean => /^\/memfd:(barecell|floor)-image\b/.test(name);

/** Guest memory that does not come from the image's file lies directly around what does. */
function kindOf(mapping: Mapping, imageEdges: ReadonlySet<string>): MappingKind {
  if (isImage(mapping)) return "image pages";
  if (mapping.name.startsWith("anon_inode:kvm-vcpu")) return "kvm_run";
  if (mapping.name !== "" && !mapping.name.startsWith("[")) return "programs and files";
  const isGuests = mapping.name === "" && (imageEdges.has(mapping.start) || imageEdges.has(mapping.end));
  return isGuests ? "guest memory without a file" : "heap and stacks";
}

export function sizesByKind(mappings: readonly Mapping[]): Partial<Record<MappingKind, MappingSize>> {
  const sizes: Partial<Record<MappingKind, MappingSize>> = {};
  const edges = new Set(mappings.filter(isImage).flatMap(({ start, end }) => [start, end]));
  for (const mapping of mappings) {
    const kind = kindOf(mapping, edges);
    const before = sizes[kind];
    const bytes = (field: string): number => (mapping.kib[field] ?? 0) * 1024;
    sizes[kind] = {
      mappings: (before?.mappings ?? 0) + 1,
      resident: (before?.resident ?? 0) + bytes("Rss"),
      proportional: (before?.proportional ?? 0) + bytes("Pss"),
      shared: (before?.shared ?? 0) + bytes("Shared_Clean") + bytes("Shared_Dirty"),
      own: (before?.own ?? 0) + bytes("Anonymous"),
    };
  }
  return sizes;
}

/** Numbers of the memory files that images are mapped from. */
export function imageFiles(mappings: readonly Mapping[]): string[] {
  return [...new Set(mappings.filter(isImage).map(({ inode }) => inode))];
}
