/** The guest's call stack at a trap, by function name. */
import { type GuestFrame, isBarecellError } from "../errors.ts";
import type { Image } from "../image/image.ts";
import { SymbolTable } from "../image/symbols.ts";
import { Unwinder } from "../image/unwind.ts";
import type { NativeOutcome, NativeVm } from "./addon.ts";

const MAX_FRAMES = 64;
/** Bytes below RSP that belong to a leaf function (System V ABI, AMD64 supplement, 3.2.2). */
const RED_ZONE_BYTES = 128n;

interface DebugTables {
  readonly symbols: SymbolTable;
  readonly unwinder: Unwinder | undefined;
}

const tables = new WeakMap<Image, DebugTables>();

function debugTables(image: Image): DebugTables {
  let found = tables.get(image);
  if (!found) {
    const frames = image.elf.section(".eh_frame");
    found = { symbols: new SymbolTable(image.elf), unwinder: frames && new Unwinder(frames) };
    tables.set(image, found);
  }
  return found;
}

/** Never throws: a stack that cannot be read gives a short backtrace, and the trap itself is what counts. */
export function backtraceOf(image: Image, vm: NativeVm, outcome: NativeOutcome): GuestFrame[] {
  if (!outcome.inRing3) return [];
  try {
    const { symbols, unwinder } = debugTables(image);
    const { address, bytes } = readStack(image, vm, outcome.rsp);
    const walked = unwinder?.walk(outcome, { address, bytes }, MAX_FRAMES) ?? [
      { rip: outcome.rip, cfa: outcome.rsp },
    ];
    const frames: GuestFrame[] = [];
    let inWrapper = false;
    walked.forEach((frame, i) => {
      const symbol = symbols.lookup(i === 0 ? frame.rip : frame.rip - 1n)?.name;
      const described = describe(image, symbol, frame.rip);
      // An export's wrapper stands between its function and the caller; both go by the function's name. Where the function was inlined into
      // its wrapper, a wrapper that calls itself is recursion, and every level counts.
      const isWrapper = /^w2c_m\d+_e/.test(symbol ?? "");
      const repeats = isWrapper && !inWrapper && isSame(frames.at(-1), described);
      if (described && !repeats) frames.push(described);
      inWrapper = isWrapper;
    });
    return frames;
  } catch (error) {
    if (isBarecellError(error)) return [];
    throw error;
  }
}

/** The stack from the red zone below RSP up; from its lowest byte if RSP is in the hole below it, after an overflow. */
function readStack(image: Image, vm: NativeVm, rsp: bigint): { address: bigint; bytes: Uint8Array } {
  const bottom = BigInt(image.layout.segments.find((segment) => segment.purpose === "stack")?.virtual ?? 0);
  const withRedZone = rsp - RED_ZONE_BYTES;
  const address = withRedZone < bottom ? bottom : withRedZone;
  return { address, bytes: vm.readStack(address) };
}

function isSame(a: GuestFrame | undefined, b: GuestFrame | undefined): boolean {
  return a?.functionIndex !== undefined && a.functionIndex === b?.functionIndex && a.module === b.module;
}

/** Undefined for barecell's own wrappers, which would only repeat the names of what they wrap. */
function describe(image: Image, symbol: string | undefined, rip: bigint): GuestFrame | undefined {
  const address = `0x${rip.toString(16)}`;
  if (symbol === undefined) return { name: "?", address };
  const bare = symbol.replace(/\.(constprop|isra|part|cold|lto_priv)(\.\d+)*|\.\d+$/g, "");
  const imported = /^w2c_h(\d+)_i(\d+)$/.exec(bare);
  if (imported) {
    const [importer, importIndex] = [Number(imported[1]), Number(imported[2])];
    const entry = image.imports.find(
      (each) => each.importer === importer && each.importIndex === importIndex,
    );
    if (!entry) return { name: bare, address };
    const name = `${entry.module}.${entry.name}`;
    return { name, functionIndex: entry.functionIndex, ...moduleOf(image, importer), address };
  }
  // Function symbols end in the function's index (see canonical-module.ts), `_0` is wasm2c's.
  const own = /^(?:wrap_)?w2c_m(\d+)_((?:.*_)?f(\d+))(?:_0)?$/.exec(bare);
  if (own) {
    const kept = (own[2] as string).replace(/_?f\d+$/, "");
    return frameOf(image, Number(own[1]), Number(own[3]), kept, address);
  }
  const exported = /^w2c_m(\d+)_e(\d+)$/.exec(bare);
  if (exported) {
    const entry = image.modules[Number(exported[1])]?.exports[Number(exported[2])];
    if (entry?.kind !== "func") return undefined;
    return frameOf(image, Number(exported[1]), entry.functionIndex, entry.name, address);
  }
  // Its segments, and its start function where the compiler moved that in here.
  const instantiated = /^wasm2c_m(\d+)_instantiate$/.exec(bare);
  if (instantiated) return { name: "instantiate", ...moduleOf(image, Number(instantiated[1])), address };
  if (
    /^((call|get|set)_\d+_\d+|instantiate_\d+|init_(tables|memories|globals)|bc_.*|wrap_.*|wasm_rt_trap|stop)$/.test(
      bare,
    )
  ) {
    return undefined;
  }
  return { name: bare, address };
}

/** @param kept what the symbol spells of the name */
function frameOf(
  image: Image,
  moduleIndex: number,
  functionIndex: number,
  kept: string,
  address: string,
): GuestFrame {
  const module = image.modules[moduleIndex];
  const name = module?.functionNames[functionIndex] ?? (kept === "" ? `func[${functionIndex}]` : kept);
  return { name, functionIndex, ...moduleOf(image, moduleIndex), address };
}

/** Of one module there is no need to say which. */
function moduleOf(image: Image, moduleIndex: number): { module?: string } {
  const module = image.modules[moduleIndex];
  return module !== undefined && image.modules.length > 1 ? { module: module.name } : {};
}
