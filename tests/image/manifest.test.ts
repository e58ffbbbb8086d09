/** What an image says about itself, altered with a right digest: refused by the name of the field before anything relies on it. */
import { describe, expect, it } from "vitest";
import { Image, isBarecellError, type Manifest, MicroVM } from "../support/barecell.ts";
import { isSvm } from "../support/environment.ts";
import { failure } from "../support/errors.ts";
import { imageOfModules, withVm } from "../support/modules.ts";
import { resealed, withManifest } from "../support/raw-code.ts";

const PAGE = 65_536;
const image = await imageOfModules([
  [
    "low",
    `(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) (memory (export "m") 1 4) (data (i32.const 0) "low")
      (table (export "t") 2 funcref) (global (export "g") (mut i32) (i32.const 3)) (func (export "yield") (result i32) (call $yield)))`,
  ],
  [
    "high",
    `(module (import "low" "m" (memory 1)) (import "low" "g" (global $g (mut i32))) (func (export "f") (result i32) (i32.load8_u (i32.const 0))))`,
  ],
  [
    // Room for what the tests write in place of its name.
    "main".padEnd(9000, "."),
    `(module (memory 2) (data (i32.const 70000) "main") (func (export "f") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))) (export "m" (memory 0)))`,
  ],
]);

/** Any JSON value at a place: `modules.0.name`. */
function set(manifest: Manifest, place: string, value: unknown): void {
  const keys = place.split(".");
  const last = keys.pop() as string;
  // biome-ignore lint/suspicious/noExplicitAny: what is tested is that types are not relied upon.
  const parent = keys.reduce((at: any, key) => at[key], manifest);
  expect(last in parent, `${place} is no field`).toBe(true);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
}
const altered = (...changes: (readonly [string, unknown])[]): Uint8Array =>
  withManifest(image.bytes, (manifest) => {
    set(manifest, "modules.2.name", "main");
    for (const [place, value] of changes) set(manifest, place, value);
  });

/** Of every type but the right one, and numbers that a check forgets. */
const NO_PLACE = [-1, 0.5, 1e300, "0", true, [], {}, undefined];
const NO_TEXT = [0, null, true, [], {}, undefined];
const NO_LIST = [0, null, "text", {}, undefined];
const entries = image.manifest.entryCount;

describe("refused", () => {
  const cases: readonly (readonly [string, readonly unknown[], string?])[] = [
    ["modules", [...NO_LIST, [], [null], [[]], ["low"]]],
    ["modules.0.name", [...NO_TEXT, "high"], "modules.name"],
    ["modules.0.digest", [...NO_TEXT, "", "0".repeat(63), "\u001b[2J".padEnd(64, "0"), "F".repeat(64)]],
    ["modules.0.sizeBytes", [...NO_PLACE, null]],
    ["modules.0.exports", [...NO_LIST, [null], [{}]]],
    ["modules.0.memory", [...NO_PLACE, 2, 100, 2 ** 32]],
    ["modules.1.importsFrom", [...NO_LIST, [1], [2], [-1], ["0"], [null]]],
    [
      "modules.0.functionNames",
      [...NO_TEXT, "names", { 1: 2 }].filter((value) => typeof value !== "object" || value === null),
    ],
    ["modules.0.instantiateEntry", [...NO_PLACE, entries, 2 ** 32]],
    ["modules.0.exports.0.memory", [...NO_PLACE, null, 2]],
    ["modules.0.exports.0.kind", [...NO_TEXT, "", "tag", "Func", "constructor"]],
    ["modules.0.exports.2.getEntry", [...NO_PLACE, null, entries]],
    ["modules.0.exports.2.setEntry", [...NO_PLACE, null, entries]],
    ["modules.0.exports.2.mutable", [false, 1, "true", undefined], "setEntry"],
    ["modules.0.exports.2.type", [...NO_TEXT, "i31", "", "__proto__", ["i32"]]],
    ["modules.0.exports.3.entry", [...NO_PLACE, null, entries, 2 ** 53]],
    [
      "modules.2.exports.0.type",
      [...NO_LIST, { params: [], results: ["i8"] }, { params: "i32", results: [] }, { params: [] }],
    ],
    ["modules.2.exports.0.type.params", [Array.from({ length: 1000 }, () => "i32")], "mailbox"],
    ["modules.2.exports.0.type.results", [Array.from({ length: 1000 }, () => "i32")], "mailbox"],
    ["imports", [...NO_LIST, [null], [{}]]],
    ["imports.0.importer", [...NO_PLACE, null, 3, 2 ** 32]],
    ["imports.0.importIndex", [...NO_PLACE, null]],
    ["imports.0.functionIndex", [...NO_PLACE, null]],
    [
      "memories",
      [...NO_LIST, [], [null, null], Array.from({ length: 101 }, () => ({ minBytes: 0, maxBytes: null }))],
    ],
    ["memories.0.minBytes", [...NO_PLACE, null, 0, PAGE, 3 * PAGE, 2 * PAGE - 4096, 2 ** 32 + PAGE], "memor"],
    ["memories.1.minBytes", [...NO_PLACE, null, 0, 2 * PAGE, 5 * PAGE], "memor"],
    [
      "memories.1.maxBytes",
      [-1, 0.5, "0", true, 0, PAGE - 1, 4 * PAGE + 4096, 4 * PAGE - 1, 2 ** 32 + PAGE, 2 ** 52],
      "memories",
    ],
    ["tables", [...NO_LIST, [null], [[]]]],
    ["tables.0.element", [...NO_TEXT, "anyref", "\u001b[31m", ""]],
    ["tables.0.min", [...NO_PLACE, null]],
    ["tables.0.capacity", [...NO_PLACE, null]],
    ["entryCount", [...NO_PLACE, null, 0, 1, 2 ** 32]],
  ];
  it.each(cases.map(([place, values, field]) => ({ place, values, field })))(
    "$place",
    async ({ place, values, field }) => {
      for (const value of values) {
        const error = await failure(() => Image.fromBytes(altered([place, value])), "BARECELL_IMAGE_INVALID");
        // By the name of the field or, where the value as a whole is wrong, of one in it.
        const words = (field ?? place.replace(/\.\d+/g, "")).split(".");
        const known = ["exports", "type", "manifest", ...words];
        expect(
          known.some((word) => error.message.includes(word)),
          `${String(value)}: ${error.message}`,
        ).toBe(true);
      }
    },
  );

  it("a memory more than the program headers have, or one less", async () => {
    const more = altered(["memories", [...image.manifest.memories, { minBytes: PAGE, maxBytes: null }]]);
    await failure(() => Image.fromBytes(more), "BARECELL_IMAGE_INVALID");
    const swapped = altered(["memories", [...image.manifest.memories].reverse()]);
    await failure(() => Image.fromBytes(swapped), "BARECELL_IMAGE_INVALID");
  });
});

/** A forged image that is accepted stays in its VM: a result or a coded error. */
async function contained(bytes: Uint8Array): Promise<"refused" | "ran" | "failed"> {
  let vm: MicroVM | undefined;
  try {
    const forged = Image.fromBytes(bytes);
    vm = await MicroVM.boot(forged, { wasi: {}, timeoutMs: isSvm ? 2000 : 200 });
    for (const module of vm.modules) {
      if (module.isInstantiated) module.memory.read(0, module.memory.byteLength);
      for (const entry of module.exports) {
        if (entry.kind === "func")
          await module.callRaw(entry.name, new Uint8Array(entry.type.params.length * 16));
        if (entry.kind === "global") module.globalRaw(entry.name);
      }
    }
    return "ran";
  } catch (error) {
    if (!isBarecellError(error)) throw error;
    return vm === undefined && error.code.startsWith("BARECELL_IMAGE") ? "refused" : "failed";
  } finally {
    vm?.dispose();
  }
}

describe("accepted, and contained in the VM", () => {
  const lies: readonly (readonly [string, readonly (readonly [string, unknown])[]])[] = [
    [
      "another module's memory",
      [
        ["modules.0.memory", 0],
        ["modules.2.memory", 1],
      ],
    ],
    ["no memory", [["modules.2.memory", null]]],
    [
      "a memory that starts empty and can grow, and that the guest knows nothing of",
      [
        ["memories", [...image.manifest.memories, { minBytes: 0, maxBytes: null }]],
        ["modules.2.memory", 2],
      ],
    ],
    [
      "the host import of another module",
      [
        ["imports.0.importer", 2],
        ["imports.0.importIndex", 2 ** 52],
      ],
    ],
    ["no imports", [["imports", []]]],
    [
      "a host import more",
      [["imports", [...image.manifest.imports, { ...image.manifest.imports[0], importIndex: 7 }]]],
    ],
    ["a global for a function", [["modules.0.exports.2.getEntry", entries - 1]]],
    ["a function for a global", [["modules.2.exports.0.entry", 0]]],
    [
      "another type",
      [["modules.2.exports.0.type", { params: [], results: ["funcref", "externref", "v128", "f32"] }]],
    ],
    [
      "entries that are not there",
      [
        ["entryCount", 2 ** 32 - 1],
        ["modules.2.exports.0.entry", 2 ** 32 - 2],
      ],
    ],
    ["instantiation that it does not do", [["modules.2.instantiateEntry", 0]]],
    [
      "tables without end",
      [
        ["tables.0.capacity", 2 ** 53 - 1],
        ["tables.0.min", 2 ** 53 - 1],
      ],
    ],
  ];
  it.each(lies)("%s", async (_, changes) => {
    expect(["ran", "failed"]).toContain(await contained(altered(...changes)));
    await withVm(image, { wasi: {} }, (vm) => {
      expect([vm.callSync("f", 2, 3), vm.module("high").callSync("f"), vm.module("low").global("g")]).toEqual(
        [5, 108, 3],
      );
    });
  });
});

describe("program headers of memories from 1 up", () => {
  const view = (bytes: Uint8Array): DataView =>
    new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headers = Number(view(image.bytes).getBigUint64(32, true));
  const count = view(image.bytes).getUint16(56, true);
  const ofMemory = image.layout.segments.find((segment) => segment.memory === 1);
  const at = Array.from({ length: count }, (_, i) => headers + 56 * i).find(
    (base) => Number(view(image.bytes).getBigUint64(base + 16, true)) === ofMemory?.virtual,
  ) as number;
  const [VIRTUAL, PHYSICAL, MEMORY_SIZE] = [16, 24, 40];

  it.each([
    ["in the hole behind memory 0", VIRTUAL, 0x1_0000_0000n],
    ["over the stack's hole", VIRTUAL, 0x2_4000_0000n],
    ["not at its start", VIRTUAL, 0x10_0000_1000n],
    ["as memory 2, with none before", VIRTUAL, 0x14_0000_0000n],
    ["as memory 100", VIRTUAL, 0x10_0000_0000n + 99n * 0x4_0000_0000n],
    ["at the end of all addresses", VIRTUAL, 2n ** 64n - 4096n],
    ["over the image", PHYSICAL, 0x1000n],
    ["over memory 0", PHYSICAL, BigInt(image.layout.memories[0]?.physical ?? 0)],
    ["where growth of memory 0 goes", PHYSICAL, 0x4_0000_0000n],
    ["where the tables of growth go", PHYSICAL, 0x6_0000_0000n],
    ["where another memory is", PHYSICAL, 0x9_0000_0000n],
    ["above all memory", PHYSICAL, 2n ** 52n],
    ["smaller", MEMORY_SIZE, BigInt(PAGE / 2)],
    ["larger", MEMORY_SIZE, BigInt(2 * PAGE)],
    ["of 4 GiB and a page", MEMORY_SIZE, 2n ** 32n + 4096n],
    ["of all memory", MEMORY_SIZE, 2n ** 63n],
  ] as const)("%s: refused", async (_, field, value) => {
    const bytes = resealed(image.bytes, (copy) => view(copy).setBigUint64(at + field, value, true));
    await failure(() => Image.fromBytes(bytes), "BARECELL_IMAGE_INVALID");
  });

  it.each([4, 5, 7, 0x100006])("rights %i: refused", async (flags) => {
    const bytes = resealed(image.bytes, (copy) => view(copy).setUint32(at + 4, flags, true));
    await failure(() => Image.fromBytes(bytes), "BARECELL_IMAGE_INVALID");
  });

  it("memory 0 below the image: refused", async () => {
    const first = image.layout.segments.filter((segment) => segment.memory === 0);
    const bytes = resealed(image.bytes, (copy) => {
      for (let base = headers; base < headers + 56 * count; base += 56) {
        const segment = first.find(
          ({ virtual }) => BigInt(virtual) === view(copy).getBigUint64(base + 16, true),
        );
        if (segment) view(copy).setBigUint64(base + PHYSICAL, BigInt(segment.virtual), true);
      }
    });
    await failure(() => Image.fromBytes(bytes), "BARECELL_IMAGE_INVALID");
  });
});
