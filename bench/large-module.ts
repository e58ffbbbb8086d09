/** Makes a module of any size from a real one: its functions, over and over. */

const SECTION_CUSTOM = 0;
const SECTION_FUNCTION = 3;
const SECTION_CODE = 10;

/**
 * Repeats a module's own functions, behind those that are there, until the module has so many bytes; custom sections stay away. A copy calls what its
 * original calls, so it stays valid, and no compiler can know that nobody calls it from outside of its file.
 * @param bytes a valid module with functions
 */
export function enlarge(bytes: Uint8Array, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const sections = sectionsOf(bytes).filter(({ id }) => id !== SECTION_CUSTOM);
  const code = sections.find(({ id }) => id === SECTION_CODE);
  const functions = sections.find(({ id }) => id === SECTION_FUNCTION);
  if (!code || !functions) throw new RangeError("a module without functions cannot be enlarged");
  const rest = sections.reduce((sum, { id, content }) => sum + (id === SECTION_CODE ? 0 : content.length), 0);
  // The count at the front of the code, of up to five bytes, is there once.
  const times = Math.max(1, Math.ceil((sizeBytes - rest) / (code.content.length - 5)));
  const parts = sections.map(({ id, content }) =>
    section(id, content, id === SECTION_CODE || id === SECTION_FUNCTION ? times : 1),
  );
  return Uint8Array.from(Buffer.concat([bytes.subarray(0, 8), ...parts]));
}

interface Section {
  readonly id: number;
  readonly content: Uint8Array;
}

function sectionsOf(bytes: Uint8Array): Section[] {
  const sections: Section[] = [];
  for (let at = 8; at < bytes.length; ) {
    const [size, start] = readUnsigned(bytes, at + 1);
    sections.push({ id: bytes[at] as number, content: bytes.subarray(start, start + size) });
    at = start + size;
  }
  return sections;
}

/** A section whose list stands in it so many times. */
function section(id: number, content: Uint8Array, times: number): Uint8Array {
  if (times === 1) return Buffer.concat([Uint8Array.of(id), unsigned(content.length), content]);
  const [count, start] = readUnsigned(content, 0);
  const list = content.subarray(start);
  const repeated = Buffer.concat([unsigned(count * times), ...Array<Uint8Array>(times).fill(list)]);
  return Buffer.concat([Uint8Array.of(id), unsigned(repeated.length), repeated]);
}

/** LEB128 (5.2.2): the value, and where what follows begins. */
function readUnsigned(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  for (let scale = 1; ; scale *= 0x80) {
    const byte = bytes[at++] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return [value, at];
  }
}

function unsigned(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 0x80)) {
    bytes.push(rest >= 0x80 ? (rest % 0x80) + 0x80 : rest);
    if (rest < 0x80) return Uint8Array.from(bytes);
  }
}
