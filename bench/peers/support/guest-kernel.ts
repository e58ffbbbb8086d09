/** A Linux kernel for guests: found on the host, or named by the user, and unpacked, as VMs want it that do without a boot loader. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Unavailable } from "../peer.ts";
import { errorText } from "./error-text.ts";
import { findProgram } from "./find-program.ts";

export const KERNEL_VARIABLE = "BARECELL_GUEST_KERNEL";
const CURE = `set ${KERNEL_VARIABLE} to a Linux kernel for x86-64 (vmlinux or vmlinuz); without installing one: apt-get download the package that linux-image-cloud-amd64 depends on, dpkg -x it into a folder, and use boot/vmlinuz-* in there`;

/** Where distributions put the kernels that they boot themselves. */
const BOOT = "/boot";
const BOOT_NAME = /^vmlinuz|^vmlinux/;
/** Unpacked, they have some 50 MB. */
const LARGEST_BYTES = 2 ** 30;
const PATIENCE_MS = 60_000;

const ELF_MAGIC = 0x464c_457f;
const ELF_MACHINE_AT = 18;
const ELF_X86_64 = 62;
/** Every Linux kernel has it in itself, with its version behind it. */
const BANNER = "Linux version ";

/** Fields of the set-up header, from the kernel's description of its boot protocol; the payload's place is said since version 2.08. */
const SETUP = {
  sectors: 0x1f1,
  signature: 0x202,
  version: 0x206,
  payloadAt: 0x248,
  payloadBytes: 0x24c,
  end: 0x250,
};
const SIGNATURE = "HdrS";
const OLDEST_VERSION = 0x208;
const SECTOR_BYTES = 512;

/** The payload's first bytes, and what unpacks it from standard input. All but gzip's are followed by the unpacked size, in 4 bytes. */
const PACKERS = [
  { magic: "1f8b", name: "gzip", command: null },
  { magic: "02214c18", name: "lz4", command: ["lz4", "-dc"] },
  { magic: "28b52ffd", name: "zstd", command: ["zstd", "-dc"] },
  { magic: "fd377a58", name: "xz", command: ["xz", "-dc"] },
  { magic: "5d0000", name: "xz-utils", command: ["xz", "--format=lzma", "-dc"] },
  { magic: "425a68", name: "bzip2", command: ["bzip2", "-dc"] },
] as const;
const SIZE_BYTES = 4;

/** @returns the path of the kernel to be used. @throws Unavailable if there is none */
export function findKernel(): string {
  const given = process.env[KERNEL_VARIABLE];
  if (given !== undefined && given !== "") {
    if (!existsSync(given))
      throw new Unavailable(`there is no guest kernel at ${given} (${KERNEL_VARIABLE})`, CURE);
    return given;
  }
  const own = join(BOOT, `vmlinuz-${release()}`);
  const all = (existsSync(BOOT) ? readdirSync(BOOT) : []).filter((name) => BOOT_NAME.test(name)).sort();
  const found = existsSync(own) ? own : all.length > 0 ? join(BOOT, all.at(-1) ?? "") : undefined;
  if (found === undefined) throw new Unavailable("no Linux kernel for the guest was found", CURE);
  return found;
}

/**
 * Unpacks the kernel, so that no VM has to.
 * @param output where to write it
 * @throws Unavailable if it is no kernel, or cannot be read or unpacked
 */
export function unpackKernel(path: string, output: string): void {
  let bytes: Buffer;
  try {
    const about = statSync(path);
    // A pipe or a device would be read for ever.
    if (!about.isFile() || about.size > LARGEST_BYTES)
      throw new Error(`${path} is no file of a kernel's size`);
    bytes = readFileSync(path);
  } catch (error) {
    throw new Unavailable(`the guest kernel cannot be read: ${errorText(error)}`, CURE);
  }
  writeFileSync(output, isElf(bytes) ? checked(bytes, path) : checked(unpack(bytes, path), path));
}

/** "Linux version 6.1.0-13-cloud-amd64". @param path of one that was unpacked here */
export function kernelVersion(path: string): string {
  const bytes = readFileSync(path);
  for (let at = bytes.indexOf(BANNER); at >= 0; at = bytes.indexOf(BANNER, at + 1)) {
    const text = /^Linux version \d\S*/.exec(bytes.toString("latin1", at, at + 120))?.[0];
    if (text !== undefined) return text;
  }
  return "unknown version";
}

const isElf = (bytes: Buffer): boolean =>
  bytes.length > ELF_MACHINE_AT + 2 && bytes.readUInt32LE(0) === ELF_MAGIC;

function checked(bytes: Buffer, path: string): Buffer {
  const isKernel =
    isElf(bytes) && bytes.readUInt16LE(ELF_MACHINE_AT) === ELF_X86_64 && bytes.includes(BANNER);
  if (!isKernel) {
    throw new Unavailable(`${path} is no Linux kernel for x86-64`, CURE);
  }
  return bytes;
}

function unpack(bytes: Buffer, path: string): Buffer {
  const payload = payloadOf(bytes);
  const start = payload?.toString("hex", 0, 4) ?? "";
  const packer = PACKERS.find(({ magic }) => start.startsWith(magic));
  if (payload === undefined || packer === undefined) {
    throw new Unavailable(`${path} is no Linux kernel for x86-64, or packed in an unknown way`, CURE);
  }
  try {
    if (packer.command === null) return gunzipSync(payload, { maxOutputLength: LARGEST_BYTES });
    const [command, ...options] = packer.command;
    if (findProgram(command) === undefined) {
      throw new Unavailable(
        `the guest kernel ${path} is packed by ${command}, which is not installed`,
        `apt-get install ${packer.name}`,
      );
    }
    const unpacked = execFileSync(command, options, {
      input: payload.subarray(0, -SIZE_BYTES),
      maxBuffer: LARGEST_BYTES,
      timeout: PATIENCE_MS,
      stdio: ["pipe", "pipe", "ignore"],
    });
    if (unpacked.length !== payload.readUInt32LE(payload.length - SIZE_BYTES))
      throw new Error("it is cut short");
    return unpacked;
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    throw new Unavailable(
      `the guest kernel ${path} cannot be unpacked: ${errorText(error).split("\n")[0] ?? ""}`,
      CURE,
    );
  }
}

/** The packed kernel inside one that a boot loader would start; undefined if it is none. */
function payloadOf(bytes: Buffer): Buffer | undefined {
  if (bytes.length < SETUP.end) return undefined;
  if (bytes.toString("latin1", SETUP.signature, SETUP.signature + SIGNATURE.length) !== SIGNATURE)
    return undefined;
  if (bytes.readUInt16LE(SETUP.version) < OLDEST_VERSION) return undefined;
  // 0 stands for 4, for historical reasons.
  const sectors = bytes.readUInt8(SETUP.sectors) || 4;
  const from = (sectors + 1) * SECTOR_BYTES + bytes.readUInt32LE(SETUP.payloadAt);
  const length = bytes.readUInt32LE(SETUP.payloadBytes);
  if (length <= SIZE_BYTES || from + length > bytes.length) return undefined;
  return bytes.subarray(from, from + length);
}
