/** Renders the documentation that is made from tables. Used by scripts/make-docs.mjs, and by the test that fails on drift. */
import { errorTable } from "../errors.ts";
import { ABOUT, describeOption } from "./program.ts";
import { type CommandSpec, commands, exitStatuses } from "./table.ts";

const NOTE = "<!-- Made by scripts/make-docs.mjs from the sources; change those, then run it. -->";

/** The pages, by their paths in the repository. */
export function renderPages(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/cli.md", renderCommands()],
    ["docs/errors.md", renderErrors()],
  ]);
}

/** Text for a cell of a table. */
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function renderCommands(): string {
  const specs = Object.entries<CommandSpec>(commands);
  return `${[
    "# Command line",
    NOTE,
    `${ABOUT} \`barecell --help\` and \`barecell <command> --help\` print what is here.`,
    table(
      ["command", "does"],
      specs.map(([name, spec]) => [`[\`${name}\`](#barecell-${name})`, cell(spec.summary)]),
    ),
    ...specs.flatMap(([name, spec]) => renderCommand(name, spec)),
    "## Exit status",
    table(
      ["status", "means"],
      exitStatuses.map(([status, meaning]) => [status, cell(meaning)]),
    ),
    "## Errors",
    'An error says what is wrong on standard error, with its code (see [errors.md](errors.md)) and its cure. With `--json` it is an object on standard output instead: `{"ok": false, "error": {"code", "message"}}`. `BARECELL_DEBUG=1` adds the stack of barecell itself.',
    "## Environment",
    table(
      ["variable", "does"],
      [
        ["`CC`", "the C compiler to use, a name or a path"],
        ["`XDG_CACHE_HOME`", "where the cache is: `$XDG_CACHE_HOME/barecell`, or `~/.cache/barecell`"],
        ["`TMPDIR`", "where compiling keeps its temporary files"],
        ["`NO_COLOR`", "no colours, also on a terminal"],
        ["`BARECELL_DEBUG`", "`1`: errors come with stack traces"],
        ["`BARECELL_ADDON`", "another build of the native addon"],
      ],
    ),
  ].join("\n\n")}\n`;
}

function renderCommand(name: string, spec: CommandSpec): string[] {
  const operands = spec.operands.map(({ name: operand, optional, rest }) => {
    const shown = `${operand}${rest ? "..." : ""}`;
    return optional ? `[${shown}]` : `<${shown}>`;
  });
  return [
    `## barecell ${name}`,
    `    ${["barecell", name, "[options]", ...operands].join(" ")}`,
    ...spec.description,
    ...(spec.operands.length === 0
      ? []
      : [
          table(
            ["operand", "is"],
            spec.operands.map(({ name: operand, description }) => [code(operand), cell(description)]),
          ),
        ]),
    table(
      ["option", "does"],
      Object.values(spec.options).map((option) => [code(option.flags), cell(describeOption(option))]),
    ),
    "Examples:",
    spec.examples.map(([line, what]) => `    # ${what}\n    ${line}`).join("\n\n"),
    "Fields of `--json`:",
    table(
      ["field", "holds"],
      spec.json.map(([field, meaning]) => [code(field), cell(meaning)]),
    ),
  ];
}

function renderErrors(): string {
  return `${[
    "# Errors",
    NOTE,
    "Every error that barecell throws is a `BarecellError` with one of these codes. Tell errors apart by `code`; messages may change. The kind is in `error.kind`, the cure in `error.cure`.",
    table(
      ["code", "kind", "when", "cure"],
      Object.entries(errorTable).map(([name, { kind, when, cure }]) => [
        code(name),
        kind,
        cell(when),
        cell(cure),
      ]),
    ),
  ].join("\n\n")}\n`;
}
