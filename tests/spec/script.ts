/** From the text of a `.wast` file to the commands of its script. Nothing is decided here about what they mean to a VM. */
import {
  LineIndex,
  type List,
  type QuotedString,
  readForms,
  ScriptError,
  type SExpr,
  stringBytes,
} from "./sexpr.ts";
import { type Argument, type Pattern, readArgument, readPattern } from "./values.ts";

/** A module as the script holds it. */
export interface ModuleSource {
  readonly line: number;
  /** "text" and "quote" hold text, "binary" a binary. */
  readonly encoding: "text" | "quote" | "binary";
  readonly bytes: Uint8Array;
}

export interface Action {
  readonly kind: "invoke" | "get";
  /** The `$id` of a module; undefined for the last one. */
  readonly module: string | undefined;
  readonly name: string;
  readonly args: readonly Argument[];
}

export type RunFailure = "assert_trap" | "assert_exhaustion" | "assert_exception";
export type LinkFailure = "assert_unlinkable" | "assert_uninstantiable" | "assert_trap";
export type Refusal = "assert_invalid" | "assert_malformed";

export type Command = { readonly line: number } & (
  | { readonly kind: "module"; readonly id: string | undefined; readonly module: ModuleSource }
  | { readonly kind: "definition"; readonly id: string | undefined; readonly module: ModuleSource }
  | { readonly kind: "instance"; readonly id: string | undefined; readonly definition: string | undefined }
  | { readonly kind: "register"; readonly name: string; readonly id: string | undefined }
  | { readonly kind: "action"; readonly action: Action }
  | { readonly kind: "returns"; readonly action: Action; readonly expected: readonly Pattern[] }
  | { readonly kind: "fails"; readonly how: RunFailure; readonly action: Action; readonly text: string }
  | {
      readonly kind: "unusable";
      readonly how: LinkFailure;
      readonly module: ModuleSource;
      readonly text: string;
    }
  | { readonly kind: "refused"; readonly how: Refusal; readonly module: ModuleSource; readonly text: string }
  /** What barecell has nothing for. */
  | { readonly kind: "foreign"; readonly name: string; readonly reason: string }
  /** What is no command at all. */
  | { readonly kind: "broken"; readonly name: string; readonly reason: string }
);

/** The kind of a command as reports name it: its first word in the script. */
export function nameOfCommand(command: Command): string {
  switch (command.kind) {
    case "action":
      return command.action.kind;
    case "returns":
      return "assert_return";
    case "fails":
    case "unusable":
    case "refused":
      return command.how;
    case "foreign":
    case "broken":
      return command.name;
    default:
      return command.kind;
  }
}

/** Fields of a module, which may stand in a script without `(module …)` around them all. */
const FIELDS: readonly string[] = "type rec import func table memory global tag export start elem data".split(
  " ",
);
/** Commands that need what barecell does not have, and why they are not run. */
const FOREIGN: Readonly<Record<string, string>> = {
  thread: "refused: threads and atomics",
  wait: "refused: threads and atomics",
  assert_suspension: "refused: stack switching",
  assert_malformed_custom: "custom sections have no meaning to barecell",
  assert_invalid_custom: "custom sections have no meaning to barecell",
  script: "no command to run",
  input: "no command to run",
  output: "no command to run",
};

/** Never throws for what is in the file: a broken part is a command of the kind "broken". */
export function readScript(bytes: Uint8Array): Command[] {
  const lines = new LineIndex(bytes);
  const { forms, error } = readForms(bytes);
  const commands: Command[] = [];
  for (let i = 0; i < forms.length; i++) {
    const form = forms[i] as SExpr;
    const line = lines.lineOf(form.start);
    if (FIELDS.includes(headOf(form))) {
      let last = i;
      while (last + 1 < forms.length && FIELDS.includes(headOf(forms[last + 1] as SExpr))) last++;
      const text = bytes.slice(form.start, (forms[last] as SExpr).end);
      commands.push({ line, kind: "module", id: undefined, module: { line, encoding: "text", bytes: text } });
      i = last;
      continue;
    }
    commands.push(readCommand(form, line, bytes, lines));
  }
  if (error !== undefined) {
    commands.push({
      line: lines.lineOf(error.offset),
      kind: "broken",
      name: "script",
      reason: error.message,
    });
  }
  return commands;
}

function headOf(form: SExpr): string {
  const first = form.kind === "list" ? form.items[0] : undefined;
  return first?.kind === "word" ? first.text : "";
}

function readCommand(form: SExpr, line: number, bytes: Uint8Array, lines: LineIndex): Command {
  const name = headOf(form);
  try {
    if (form.kind !== "list") throw new ScriptError("not a command: it has no parentheses", form.start);
    return { line, ...new CommandReader(form, bytes, lines).read(name) } as Command;
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    return { line, kind: "broken", name: name === "" ? "script" : name, reason: error.message };
  }
}

type WithoutLine<T> = T extends unknown ? Omit<T, "line"> : never;

class CommandReader {
  readonly #form: List;
  readonly #bytes: Uint8Array;
  readonly #lines: LineIndex;
  /** The item that is read next; the first is the command's name. */
  #next = 1;

  constructor(form: List, bytes: Uint8Array, lines: LineIndex) {
    this.#form = form;
    this.#bytes = bytes;
    this.#lines = lines;
  }

  read(name: string): WithoutLine<Command> {
    const command = this.#command(name);
    const rest = this.#form.items[this.#next];
    if (rest !== undefined) throw new ScriptError(`'${name}' goes on where it should end`, rest.start);
    return command;
  }

  #command(name: string): WithoutLine<Command> {
    switch (name) {
      case "module":
        return this.#module();
      case "register":
        return { kind: "register", name: this.#name(), id: this.#id() };
      case "invoke":
      case "get":
        this.#next = this.#form.items.length;
        return { kind: "action", action: this.#action(this.#form) };
      case "assert_return": {
        const action = this.#action(this.#list());
        return { kind: "returns", action, expected: this.#rest().map(readPattern) };
      }
      case "assert_exception":
        return { kind: "fails", how: name, action: this.#action(this.#list()), text: "" };
      case "assert_trap":
      case "assert_exhaustion": {
        const inner = this.#list();
        if (headOf(inner) === "module" && name === "assert_trap") {
          return { kind: "unusable", how: name, module: this.#source(inner), text: this.#text() };
        }
        return { kind: "fails", how: name, action: this.#action(inner), text: this.#text() };
      }
      case "assert_unlinkable":
      case "assert_uninstantiable":
        return { kind: "unusable", how: name, module: this.#source(this.#list()), text: this.#text() };
      case "assert_invalid":
      case "assert_malformed":
        return { kind: "refused", how: name, module: this.#source(this.#list()), text: this.#text() };
      default: {
        this.#next = this.#form.items.length;
        const reason = FOREIGN[name];
        if (reason !== undefined) return { kind: "foreign", name, reason };
        throw new ScriptError(name === "" ? "not a command: it has no name" : `unknown command '${name}'`, 0);
      }
    }
  }

  #module(): WithoutLine<Command> {
    const second = this.#form.items[1];
    const variant = second?.kind === "word" ? second.text : "";
    if (variant === "instance") {
      this.#next = 2;
      return { kind: "instance", id: this.#id(), definition: this.#id() };
    }
    const kind = variant === "definition" ? "definition" : "module";
    const source = this.#source(this.#form);
    const name = this.#form.items[kind === "definition" ? 2 : 1];
    const id = name?.kind === "word" && name.text.startsWith("$") ? name.text : undefined;
    this.#next = this.#form.items.length;
    return { kind, id, module: source };
  }

  /** The module in `(module …)`. */
  #source(form: List): ModuleSource {
    if (headOf(form) !== "module") throw new ScriptError("expected a module", form.start);
    const line = this.#lines.lineOf(form.start);
    const words: string[] = [];
    for (const item of form.items.slice(1)) {
      if (item.kind !== "word") break;
      words.push(item.text);
    }
    const definition = words[0] === "definition";
    if (definition) words.shift();
    if (words[0]?.startsWith("$")) words.shift();
    if (words[0] === "binary" || words[0] === "quote") {
      return { line, encoding: words[0], bytes: Buffer.concat(this.#strings(form)) };
    }
    const text = Buffer.from(this.#bytes.subarray(form.start, form.end));
    // Overwritten with blanks, so that places in the text stay what they are in the file.
    if (definition) text.fill(" ", "(module".length, text.indexOf("definition") + "definition".length);
    return { line, encoding: "text", bytes: text };
  }

  #strings(form: List): Uint8Array[] {
    const first = form.items.findIndex((item) => item.kind !== "word");
    return form.items.slice(first < 0 ? form.items.length : first).map((item) => {
      if (item.kind === "string") return stringBytes(item);
      throw new ScriptError("a quoted module is made of strings only", item.start);
    });
  }

  #action(form: List): Action {
    const kind = headOf(form);
    if (kind !== "invoke" && kind !== "get")
      throw new ScriptError(`expected an action, not '${kind}'`, form.start);
    const reader = new CommandReader(form, this.#bytes, this.#lines);
    const module = reader.#id();
    const name = reader.#name();
    const args = kind === "invoke" ? reader.#rest().map(readArgument) : [];
    const rest = form.items[reader.#next];
    if (rest !== undefined) throw new ScriptError("'get' takes no arguments", rest.start);
    return { kind, module, name, args };
  }

  #rest(): readonly SExpr[] {
    const rest = this.#form.items.slice(this.#next);
    this.#next = this.#form.items.length;
    return rest;
  }

  #id(): string | undefined {
    const item = this.#form.items[this.#next];
    if (item?.kind !== "word" || !item.text.startsWith("$")) return undefined;
    this.#next++;
    return item.text;
  }

  #list(): List {
    const item = this.#form.items[this.#next++];
    if (item?.kind === "list") return item;
    throw new ScriptError("expected a form in parentheses", item?.start ?? this.#form.start);
  }

  #string(): QuotedString {
    const item = this.#form.items[this.#next++];
    if (item?.kind === "string") return item;
    throw new ScriptError("expected a string", item?.start ?? this.#form.start);
  }

  #name(): string {
    const string = this.#string();
    try {
      return UTF8.decode(stringBytes(string));
    } catch (error) {
      if (error instanceof ScriptError) throw error;
      throw new ScriptError("a name that is not UTF-8", string.start);
    }
  }

  /** The message that an assertion expects; some scripts leave it out. */
  #text(): string {
    if (this.#next >= this.#form.items.length) return "";
    return Buffer.from(stringBytes(this.#string())).toString("utf8");
  }
}

/** A byte order mark is a character like any other in a name. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
