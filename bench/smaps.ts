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
  readonly sharedClean: number;
  readonly privateClean: number;
  readonly privateDirty: number;
}

interface Mapping {
  readonly start: string;
  readonly end: string;
  readonly inode: string;
  readonly name: string;
  readonly flags: readonly string[];
  readonly kib: Readonly<Record<string, number>>;
}

const HEADER = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) *(.*)$/;
const FIELD = /^(\w+): +(\d+) kB$/;

export function parseSmaps(text: string): Mapping[] {
  const mappings: (Mapping & { kib: Record<string, number>; flags: string[] })[] = [];
  for (const line of text.split("\n")) {
    const header = HEADER.exec(line);
    if (header) {
      const [, start = "", end = "", inode = "", name = ""] = header;
      mappings.push({ start, end, inode, name, kib: {}, flags: [] });
      continue;
    }
    const last = mappings.at(-1);
    const field = FIELD.exec(line);
    if (last && field?.[1]) last.kib[field[1]] = Number(field[2]);
    else if (line.startsWith("VmFlags:")) last?.flags.push(...line.slice(8).trim().split(" "));
  }
  return mappings;
}

/** Memory files of barecell and of the floor program. */
const isImage = ({ name }: Mapping): boolean => /^\/memfd:(barecell|floor)-image\b/.test(name);

/** Guest memory is reserved without backing (`nr`), which no heap is, and lies around the parts that come from the image's file. */
function kindOf(mapping: Mapping): MappingKind {
  if (isImage(mapping)) return "image pages";
  if (mapping.name.startsWith("anon_inode:kvm-vcpu")) return "kvm_run";
  if (mapping.name !== "" && !mapping.name.startsWith("[")) return "programs and files";
  return mapping.name === "" && mapping.flags.includes("nr")
    ? "guest memory without a file"
    : "heap and stacks";
}

export function sizesByKind(mappings: readonly Mapping[]): Partial<Record<MappingKind, MappingSize>> {
  const sizes: Partial<Record<MappingKind, MappingSize>> = {};
  for (const mapping of mappings) {
    const kind = kindOf(mapping);
    const before = sizes[kind];
    const bytes = (field: string): number => (mapping.kib[field] ?? 0) * 1024;
    sizes[kind] = {
      mappings: (before?.mappings ?? 0) + 1,
      resident: (before?.resident ?? 0) + bytes("Rss"),
      proportional: (before?.proportional ?? 0) + bytes("Pss"),
      sharedClean: (before?.sharedClean ?? 0) + bytes("Shared_Clean"),
      privateClean: (before?.privateClean ?? 0) + bytes("Private_Clean"),
      privateDirty: (before?.privateDirty ?? 0) + bytes("Private_Dirty"),
    };
  }
  return sizes;
}

/** Numbers of the memory files that images are mapped from. */
export function imageFiles(mappings: readonly Mapping[]): string[] {
  return [...new Set(mappings.filter(isImage).map(({ inode }) => inode))];
}
