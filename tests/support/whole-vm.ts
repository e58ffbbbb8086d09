/** A VM as the addon has it, to be looked at from the host: all of its memory and registers. Everything else uses the public interface. */
import { createHash } from "node:crypto";
import { bindImports } from "../../dist/host/imports.js";
import { addon, type NativeVcpuState, type NativeVm, OUTCOME } from "../../dist/vm/addon.js";
import { grantNumbers, wasiFunctions } from "../../dist/vm/create-execution.js";
import type { Limits } from "../../dist/vm/limits.js";
import { nativeImage } from "../../dist/vm/native-image.js";
import { checkBootOptions } from "../../dist/vm/options.js";
import type { BootOptions, Image } from "./barecell.ts";

export const PAGE_BYTES = 4096;

/** A page's guest-physical address, and its contents where they are not zeros. */
export type WholeMemory = ReadonlyMap<number, Buffer>;

export class WholeVm {
  readonly image: Image;
  readonly native: NativeVm;
  readonly #limits: Limits;

  constructor(image: Image, options: BootOptions = {}) {
    this.image = image;
    const checked = checkBootOptions(image, options);
    this.#limits = checked.limits;
    const none = { kind: "none" } as const;
    const bound = bindImports(
      image,
      checked.imports,
      checked.wasi && wasiFunctions(),
      checked.unknownImports,
    );
    this.native = new (addon().Vm)(nativeImage(image), {
      staged: checked.staged,
      maxLinearBytes: checked.maxLinearBytes,
      answersInGuest: checked.answersInGuest,
      grants: grantNumbers(bound),
      hostCalls: undefined,
      trace: undefined,
      usage: false,
      // Nothing is connected to the standard streams.
      wasi: checked.wasi && { ...checked.wasi, stdin: none, stdout: none, stderr: none },
    });
    if (this.native.bootSync(checked.limits.numbers) !== true) throw new Error("the VM did not boot");
  }

  /** @returns the first result, or the name of what ended the call */
  call(name: string, args: readonly bigint[] = [], timeoutMs = 5000): bigint | string {
    const found = this.image.exports.find((entry) => entry.name === name);
    if (found?.kind !== "func") throw new Error(`no function ${name}`);
    const slots = new Uint8Array(Math.max(1, args.length) * 16);
    const view = new DataView(slots.buffer);
    args.forEach((value, i) => {
      view.setBigUint64(i * 16, BigInt.asUintN(64, value), true);
    });
    const outcome = this.native.callSync(
      found.entry,
      slots,
      args.length,
      found.type.results.length,
      this.#limits.with({ timeoutMs }).numbers,
    );
    if (outcome === true) return view.getBigInt64(0, true);
    return Object.entries(OUTCOME).find(([, kind]) => kind === outcome.kind)?.[0] ?? "?";
  }

  reset(): void {
    if (this.native.resetSync(this.#limits.numbers) !== true) throw new Error("the VM did not come back");
  }

  /** As the asynchronous reset begins: at once where little was written, and otherwise like the other. @returns whether it was at once */
  resetQuickly(): boolean {
    if (this.native.resetQuickly(this.#limits.numbers)) return true;
    this.reset();
    return false;
  }

  get registers(): NativeVcpuState {
    return this.native.vcpuState();
  }

  /** Every page that is not zeros. */
  memory(): WholeMemory {
    const pages = new Map<number, Buffer>();
    const zeros = Buffer.alloc(PAGE_BYTES);
    for (const { gpa, sizeBytes } of this.native.memoryRanges()) {
      for (let at = 0; at < sizeBytes; at += 2 ** 20) {
        const bytes = Buffer.from(this.native.readPhysical(gpa + at, Math.min(2 ** 20, sizeBytes - at)));
        for (let offset = 0; offset < bytes.length; offset += PAGE_BYTES) {
          const page = bytes.subarray(offset, offset + PAGE_BYTES);
          if (!page.equals(zeros)) pages.set(gpa + at + offset, page);
        }
      }
    }
    return pages;
  }

  dispose(): void {
    this.native.dispose();
  }
}

/** Guest-physical addresses of pages that differ. @param ignore masks what may differ, in a copy of the page */
export function differences(
  a: WholeMemory,
  b: WholeMemory,
  ignore: (gpa: number, page: Buffer) => void = () => {},
): string[] {
  const digest = (memory: WholeMemory, gpa: number): string => {
    const page = Buffer.from(memory.get(gpa) ?? Buffer.alloc(PAGE_BYTES));
    ignore(gpa, page);
    return createHash("sha256").update(page).digest("hex");
  };
  const all = [...new Set([...a.keys(), ...b.keys()])].sort((x, y) => x - y);
  return all.filter((gpa) => digest(a, gpa) !== digest(b, gpa)).map((gpa) => `0x${gpa.toString(16)}`);
}

/** Where the bytes occur. */
export function occurrences(memory: WholeMemory, secret: Uint8Array): string[] {
  return [...memory].flatMap(([gpa, page]) => {
    const at = page.indexOf(secret);
    return at < 0 ? [] : [`0x${(gpa + at).toString(16)}`];
  });
}
