/**
 * The shape of a script: parentheses, words and strings, with their places in the file. Works on bytes, since scripts hold strings that
 * are not UTF-8 on purpose. No recursion: nesting is only limited by memory.
 */

export interface Word {
  readonly kind: "word";
  /** One character for each byte. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Still with its quotes and escapes: see `stringBytes`. */
export interface QuotedString {
  readonly kind: "string";
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface List {
  readonly kind: "list";
  readonly items: SExpr[];
  readonly start: number;
  /** Behind the closing parenthesis. */
  end: number;
}

export type SExpr = Word | QuotedString | List;

/** Something in a script that is not a script. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
  /** Byte of the file. */
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

export interface Forms {
  /** The top-level forms that are complete. */
  readonly forms: readonly SExpr[];
  /** What is wrong with the text behind them. */
  readonly error: ScriptError | undefined;
}

/** Reads as far as the text makes sense. */
export function readForms(bytes: Uint8Array): Forms {
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"));
  const forms: SExpr[] = [];
  try {
    for (let form = reader.next(); form !== undefined; form = reader.next()) {
      if (!isAnnotation(form)) forms.push(form);
    }
  } catch (error) {
    if (error instanceof ScriptError) return { forms, error };
    throw error;
  }
  return { forms, error: undefined };
}

/** `(@name …)`: for tools, without meaning. */
function isAnnotation(form: SExpr): boolean {
  return form.kind === "list" && form.items[0]?.kind === "word" && form.items[0].text.startsWith("@");
}

const BLANK = /[ \t\r\n]+/y;
/** Words of WebAssembly text, and anything else that no other rule takes, so that odd modules still have an extent. A name may be quoted: `$"a b"`. */
const WORD = /(?:\$"[^"\\]*(?:\\[\s\S][^"\\]*)*"|[^ \t\r\n"();]|;(?!;))+/y;
const STRING = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const LINE_COMMENT = /;;[^\r\n]*/y;

class Reader {
  readonly #text: string;
  #at = 0;
  constructor(text: string) {
    this.#text = text;
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  /** The next whole form of the top level, or undefined at the end. */
  next(): SExpr | undefined {
    const open: List[] = [];
    for (;;) {
      this.#skipBlanks();
      const start = this.#at;
      const done = this.#item(open, start);
      if (done === "end") return undefined;
      if (done === undefined) continue;
      const parent = open.at(-1);
      if (parent === undefined) return done;
      parent.items.push(done);
    }
  }

  /** @returns what ended here; undefined if a list began */
  #item(open: List[], start: number): SExpr | "end" | undefined {
    switch (this.#text[start]) {
      case undefined: {
        const unclosed = open[0];
        if (unclosed === undefined) return "end";
        throw new ScriptError("unbalanced parentheses: this one is never closed", unclosed.start);
      }
      case "(":
        this.#at++;
        open.push({ kind: "list", items: [], start, end: start });
        return undefined;
      case ")": {
        const closed = open.pop();
        if (closed === undefined)
          throw new ScriptError("unbalanced parentheses: this one closes nothing", start);
        this.#at++;
        closed.end = this.#at;
        return closed;
      }
      case '"': {
        const text = this.#take(STRING);
        if (text === undefined) throw new ScriptError("a string that does not end", start);
        return { kind: "string", text, start, end: this.#at };
      }
      default: {
        const text = this.#take(WORD);
        if (text === undefined) throw new ScriptError("a character that belongs to nothing", start);
        return { kind: "word", text, start, end: this.#at };
      }
    }
  }

  #skipBlanks(): void {
    for (;;) {
      if (this.#take(BLANK) !== undefined || this.#take(LINE_COMMENT) !== undefined) continue;
      if (!this.#text.startsWith("(;", this.#at)) return;
      this.#skipBlockComment();
    }
  }

  /** They nest. */
  #skipBlockComment(): void {
    const start = this.#at;
    const mark = /\(;|;\)/g;
    mark.lastIndex = start;
    for (let depth = 0; ; ) {
      const found = mark.exec(this.#text);
      if (found === null) throw new ScriptError("a comment that does not end", start);
      depth += found[0] === "(;" ? 1 : -1;
      if (depth > 0) continue;
      this.#at = mark.lastIndex;
      return;
    }
  }
}

const ESCAPES: Readonly<Record<string, number>> = {
  t: 9,
  n: 10,
  r: 13,
  '"': 34,
  "'": 39,
  "\\": 92,
};

/** The bytes that a string stands for. */
export function stringBytes(string: QuotedString): Uint8Array {
  const text = string.text;
  const out: number[] = [];
  for (let at = 1; at < text.length - 1; at++) {
    const char = text[at] as string;
    if (char !== "\\") {
      out.push(char.charCodeAt(0));
      continue;
    }
    const rest = text.slice(at + 1, at + 16);
    const simple = ESCAPES[rest[0] ?? ""];
    const hex = /^[0-9a-fA-F]{2}/.exec(rest)?.[0];
    const unicode = /^u\{([0-9a-fA-F]{1,8})\}/.exec(rest);
    if (simple !== undefined) {
      out.push(simple);
      at += 1;
    } else if (hex !== undefined) {
      out.push(Number.parseInt(hex, 16));
      at += 2;
    } else if (unicode !== null && Number.parseInt(unicode[1] as string, 16) <= 0x10ffff) {
      out.push(...Buffer.from(String.fromCodePoint(Number.parseInt(unicode[1] as string, 16))));
      at += unicode[0].length;
    } else {
      throw new ScriptError(`unknown escape '\\${rest[0] ?? ""}' in a string`, string.start + at);
    }
  }
  return Uint8Array.from(out);
}

/** From a place in a file to the number of its line. */
export class LineIndex {
  readonly #starts: number[] = [0];
  constructor(bytes: Uint8Array) {
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) this.#starts.push(at + 1);
  }

  /** Counted from 1. */
  lineOf(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] as number) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  }
}
