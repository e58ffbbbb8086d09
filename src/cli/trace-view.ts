/** Traced host calls as text, one line each as strace prints system calls, or as JSON lines. All of it comes from the guest: what could steer a terminal is escaped. */
import type { HostCallRecord, TracedValue } from "../observe/trace-record.ts";
import { printableName } from "./terminal.ts";

/** `fd_write(fd=1, iovs="hello\n", iovs_len=1, nwritten=0x1234 [6]) = 0 success <26.1 µs>` */
export function traceLine(record: HostCallRecord): string {
  const name = record.kind === "wasi" ? record.name : `${record.module}.${record.name}`;
  const args = record.args.map(spellArgument);
  if (record.isCut) args.push("…");
  return `${printableName(name)}(${args.join(", ")}) = ${spellResult(record)} <${record.durationUs.toFixed(1)} µs>`;
}

function spellArgument(argument: TracedValue): string {
  const { name } = argument;
  return name === undefined ? spellValue(argument) : `${name}=${spellValue(argument)}`;
}

function spellValue({ type, value, kind, memory, pointsTo }: TracedValue): string {
  if (memory !== undefined) return spellMemory(memory.bytes, memory.totalBytes);
  if (typeof value === "object") return hexBytes(value);
  switch (kind) {
    case "text":
    case "data":
    case "pointer":
    case "flags":
      return hex(value);
    case "result":
      return pointsTo === undefined ? hex(value) : `${hex(value)} [${pointsTo}]`;
    case "signed":
      return String(BigInt.asIntN(64, BigInt(value)));
    default:
      if (type !== "funcref" && type !== "externref") return String(value);
      return value === 0n ? "null" : `${type}#${value}`;
  }
}

function spellResult({ ending, errno, results }: HostCallRecord): string {
  if (ending !== "returned") return `? ${ending}`;
  const values = results.map(spellValue).join(", ");
  if (errno !== undefined) return `${values} ${errno}`;
  return results.length === 1 ? values : `(${values})`;
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const hexBytes = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).reverse().toString("hex")}`;

/** How much of a string or buffer a line shows. */
const SHOWN_BYTES = 32;
const ESCAPES: Readonly<Record<number, string>> = {
  9: "\\t",
  10: "\\n",
  13: "\\r",
  34: '\\"',
  92: "\\\\",
};

/** In quotation marks; only printable ASCII stays as it is. */
function spellMemory(bytes: Uint8Array, totalBytes: number): string {
  const shown = Array.from(
    bytes.subarray(0, SHOWN_BYTES),
    (byte) =>
      ESCAPES[byte] ??
      (byte < 0x20 || byte > 0x7e ? `\\x${byte.toString(16).padStart(2, "0")}` : String.fromCharCode(byte)),
  );
  return `"${shown.join("")}"${totalBytes > shown.length ? `… (${totalBytes} bytes)` : ""}`;
}

/** One object on one line, ASCII only. 64-bit numbers are strings; bytes are base64. */
export function traceJson(record: HostCallRecord): string {
  const value = ({ type, name, kind, memory, pointsTo, ...rest }: TracedValue): object => ({
    ...(name === undefined ? {} : { name, kind }),
    type,
    value: plain(rest.value),
    ...(memory === undefined
      ? {}
      : { bytes: Buffer.from(memory.bytes).toString("base64"), totalBytes: memory.totalBytes }),
    ...(pointsTo === undefined ? {} : { pointsTo: String(pointsTo) }),
  });
  const { kind, module, name, args, results, errno, ending, startMs, durationUs } = record;
  const object = {
    module,
    name,
    kind,
    args: args.map(value),
    results: results.map(value),
    ...(errno === undefined ? {} : { errno }),
    ending,
    startMs,
    durationUs,
  };
  // JSON leaves characters as they are that steer terminals, such as U+009B.
  return JSON.stringify(object).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function plain(value: TracedValue["value"]): number | string {
  if (typeof value === "object") return Buffer.from(value).toString("base64");
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return String(value);
}
