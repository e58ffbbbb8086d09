/** From a module as the script holds it to a binary that barecell takes, or the reason why there is none. */
import { type Engine, isCodedError, type ModuleShape } from "./engine.ts";
import { proposalOfMessage, proposalOfText } from "./proposals.ts";
import type { ModuleSource } from "./script.ts";
import { TextError, type Wat } from "./wabt.ts";

/** Why something cannot be run. "skipped" only for what belongs to a later WebAssembly than 2.0, and is refused in words. */
export interface Problem {
  readonly outcome: "failed" | "skipped";
  readonly reason: string;
}

export type Prepared =
  | { readonly kind: "ready"; readonly bytes: Uint8Array; readonly shape: ModuleShape }
  /** barecell took it for malformed or invalid, or wabt its text for malformed. */
  | { readonly kind: "invalid"; readonly by: "barecell" | "wabt"; readonly problem: Problem }
  /** barecell refused it as unsupported. */
  | { readonly kind: "refused"; readonly problem: Problem };

export class Preparer {
  readonly #engine: Engine;
  readonly #wat: Wat;
  readonly #strict: boolean;

  /** @param strict whether a refusal is a failure whatever version of WebAssembly the module belongs to */
  constructor(engine: Engine, wat: Wat, strict: boolean) {
    this.#engine = engine;
    this.#wat = wat;
    this.#strict = strict;
  }

  /** For a module that should be valid. */
  async prepare(source: ModuleSource): Promise<Prepared> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#binary(source);
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      return { kind: "invalid", by: "wabt", problem: this.#unparsed(source, error) };
    }
    try {
      return { kind: "ready", bytes, shape: this.#engine.validate(bytes) };
    } catch (error) {
      return (await this.#secondTry(source, bytes, error)) ?? this.refusal(bytes, error);
    }
  }

  /** wabt's library writes some modules of later versions wrongly, and says nothing: what looks invalid may not be the script's module. */
  async #secondTry(source: ModuleSource, bytes: Uint8Array, error: unknown): Promise<Prepared | undefined> {
    if (source.encoding === "binary" || !isCodedError(error) || error.code !== "BARECELL_MODULE_INVALID") {
      return undefined;
    }
    const other = await this.#wat.toBinaryByTool(source.bytes);
    if (other === undefined || Buffer.compare(other, bytes) === 0) return undefined;
    try {
      return { kind: "ready", bytes: other, shape: this.#engine.validate(other) };
    } catch (second) {
      return this.refusal(other, second);
    }
  }

  /** What it means that barecell does not take a module that should be valid. */
  async refusal(bytes: Uint8Array, error: unknown): Promise<Exclude<Prepared, { kind: "ready" }>> {
    if (!isCodedError(error)) throw error;
    if (error.code !== "BARECELL_MODULE_UNSUPPORTED") {
      const reason = `${error.code}: ${error.message}`;
      return { kind: "invalid", by: "barecell", problem: { outcome: "failed", reason } };
    }
    const reason = `refused: ${proposalOfMessage(error.message)}`;
    if (this.#strict) return { kind: "refused", problem: { outcome: "failed", reason } };
    if (await this.#wat.isVersion2(bytes)) {
      const why = `${reason}; but this is a module of WebAssembly 2.0`;
      return { kind: "refused", problem: { outcome: "failed", reason: why } };
    }
    return { kind: "refused", problem: { outcome: "skipped", reason } };
  }

  /**
   * For a module that should be refused, before the C compiler would see it.
   * @param text what the script calls the reason
   * @returns undefined if it was refused
   */
  async expectRefusal(source: ModuleSource, malformed: boolean, text: string): Promise<Problem | undefined> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#binary(source, malformed);
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      // Malformed text is for the parser to find. Invalid text has to reach the validator.
      return malformed && !error.isCrash ? undefined : this.#unparsed(source, error);
    }
    try {
      this.#engine.validate(bytes);
      await this.#engine.translate(bytes);
    } catch (error) {
      if (isCodedError(error) && error.code.startsWith("BARECELL_MODULE_")) return undefined;
      throw error;
    }
    if (LIFTED.includes(text) && !this.#strict && (await this.#wat.isVersion2(bytes))) {
      return { outcome: "skipped", reason: "valid since WebAssembly 2.0" };
    }
    return { outcome: "failed", reason: "the module is accepted" };
  }

  /** @param only2 whether words of later versions are errors */
  async #binary(source: ModuleSource, only2 = false): Promise<Uint8Array> {
    if (source.encoding === "binary") return source.bytes;
    const firstLine = source.encoding === "text" ? source.line : 1;
    try {
      return await this.#wat.toBinary(source.bytes, "2.0", firstLine);
    } catch (error) {
      if (only2 || !(error instanceof TextError)) throw error;
      return this.#wat.toBinary(source.bytes, "all", firstLine);
    }
  }

  #unparsed(source: ModuleSource, error: TextError): Problem {
    const proposal = proposalOfText(source.bytes);
    if (proposal === undefined)
      return { outcome: "failed", reason: `wabt cannot parse it: ${error.message}` };
    const reason = `wabt cannot parse it (${proposal}): ${error.message}`;
    return { outcome: this.#strict ? "failed" : "skipped", reason };
  }
}

/** Restrictions of WebAssembly 1.0 that 2.0 has no more; proposals that began before it still test them. */
const LIFTED: readonly string[] = ["multiple tables", "invalid result arity"];
