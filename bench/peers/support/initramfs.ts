/** A guest's first and only file system, as the kernel unpacks it into memory: a cpio archive ("newc", of the kernel's initramfs documentation). */

export interface Entry {
  /** Without a slash at the beginning; folders stand before what is in them. */
  readonly path: string;
  /** Kind and permissions, as stat(2) has them. */
  readonly mode: number;
  readonly content?: Uint8Array;
  /** Of a device. */
  readonly major?: number;
  readonly minor?: number;
}

const MAGIC = "070701";
const ALIGNMENT = 4;
const TRAILER = "TRAILER!!!";
const FIELD_MAX = 0xffff_ffff;

const FOLDER = 0o040755;
const CHARACTER_DEVICE = 0o020600;
export const EXECUTABLE = 0o100755;

/** The kernel opens the console for its first process; the serial port is the way out for results. */
const DEVICES: readonly Entry[] = [
  { path: "dev", mode: FOLDER },
  { path: "dev/console", mode: CHARACTER_DEVICE, major: 5, minor: 1 },
  { path: "dev/ttyS0", mode: CHARACTER_DEVICE, major: 4, minor: 64 },
];

/** @param files besides the few device nodes that any guest here needs */
export function makeInitramfs(files: readonly Entry[]): Uint8Array {
  const entries = [...DEVICES, ...files, { path: TRAILER, mode: 0 }];
  return Buffer.concat(entries.flatMap((entry, i) => member(entry, i + 1)));
}

function member(
  { path, mode, content = new Uint8Array(), major = 0, minor = 0 }: Entry,
  inode: number,
): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  const [owner, group, links, time, checksum] = [0, 0, 1, 0, 0];
  const [onMajor, onMinor] = [0, 0];
  const fields = [
    ...[inode, mode, owner, group, links, time, content.length],
    ...[onMajor, onMinor, major, minor, name.length, checksum],
  ];
  const header = Buffer.from(MAGIC + fields.map(hexadecimal).join(""));
  return [padded(Buffer.concat([header, name])), padded(content)];
}

function hexadecimal(value: number): string {
  if (value > FIELD_MAX) throw new RangeError(`too large for a cpio archive: ${value}`);
  return value.toString(16).padStart(8, "0");
}

/** With zero bytes behind it, so that what follows is aligned. */
function padded(bytes: Uint8Array): Uint8Array {
  const rest = bytes.length % ALIGNMENT;
  return rest === 0 ? bytes : Buffer.concat([bytes, new Uint8Array(ALIGNMENT - rest)]);
}
