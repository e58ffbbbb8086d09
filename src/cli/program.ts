/** Makes commander's parser from the table, and runs the command that the arguments name. */
import { Argument, Command, CommanderError, Option } from "commander";
import { packageVersion } from "../version.ts";
import { EXIT, reportError, usageError } from "./report.ts";
import {
  type CommandName,
  type CommandSpec,
  commands,
  exitStatuses,
  type Handlers,
  type OptionSpec,
} from "./table.ts";
import { stderr, stdout } from "./terminal.ts";

/** What the program is, for help and documentation. */
export const ABOUT = "Runs WebAssembly functions in bare KVM microVMs, without a guest operating system.";

type AnyHandler = (invocation: {
  operands: readonly string[];
  options: Record<string, unknown>;
}) => Promise<number>;

/**
 * Parses the arguments and runs the command. Never throws.
 * @param argv without the program
 * @returns the exit status
 */
export async function runProgram(words: readonly string[], handlers: Handlers): Promise<number> {
  const argv = completeOptions(words);
  const asJson = wantsJson(argv);
  let status: number = EXIT.ok;
  const program = buildProgram((name, invocation) => {
    // The table types each handler; commander's values have no types, and were made by the table's own parsers.
    const handler = handlers[name] as unknown as AnyHandler;
    return handler(invocation).then((value) => {
      status = value;
    });
  });
  try {
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return EXIT.usage;
    }
    await program.parseAsync(argv, { from: "user" });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, asJson);
    if (error.exitCode === 0) return EXIT.ok;
    const message = error.message
      .replace(/^error: /, "")
      .replace(/\s*\n\s*/g, " ")
      .replace(/\.$/, "");
    return reportError(
      usageError(`${message}; see barecell ${commandNameOf(argv) ?? ""} --help`.replace("  ", " ")),
      asJson,
    );
  }
}

/** The parser. @param run is called with what was parsed */
export function buildProgram(
  run: (
    name: CommandName,
    invocation: { operands: readonly string[]; options: Record<string, unknown> },
  ) => Promise<void>,
): Command {
  const program = new Command("barecell")
    .description(ABOUT)
    .version(packageVersion, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; after a command, its own")
    .helpCommand("help [command]", "print help for a command")
    // Options after the command's name are the command's.
    .enablePositionalOptions()
    .exitOverride()
    // Errors are told by `reportError`, once.
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => {},
    })
    .addHelpText("after", `\n${exitStatusText()}\n`);
  for (const name of Object.keys(commands) as CommandName[]) {
    const command = addCommand(program, name, commands[name]);
    command.action(() =>
      run(name, { operands: command.args, options: command.opts<Record<string, unknown>>() }),
    );
  }
  return program;
}

function addCommand(program: Command, name: CommandName, spec: CommandSpec): Command {
  const command = program
    .command(name)
    .summary(spec.summary)
    .description(spec.description.join("\n\n"))
    .helpOption("-h, --help", "print help");
  if (spec.passThrough) command.passThroughOptions();
  for (const { name: operand, description, optional, rest } of spec.operands) {
    const shown = `${operand}${rest ? "..." : ""}`;
    command.addArgument(new Argument(optional ? `[${shown}]` : `<${shown}>`, description));
  }
  for (const option of Object.values(spec.options)) command.addOption(buildOption(option));
  const examples = spec.examples.map(([line, what]) => `  ${line}\n      ${what}`);
  return command.addHelpText("after", `\nExamples:\n${examples.join("\n")}\n`);
}

function buildOption(spec: OptionSpec<unknown>): Option {
  const option = new Option(spec.flags, describeOption(spec));
  const { parse } = spec;
  if (parse) option.argParser((value: string, previous: unknown) => parse(value, previous));
  return option;
}

/** Description with what is allowed and what holds without it. */
export function describeOption(spec: OptionSpec<unknown>): string {
  const notes = [
    ...(spec.choices ? [`one of ${spec.choices.join(", ")}`] : []),
    ...(spec.standard === undefined ? [] : [`default: ${spec.standard}`]),
  ];
  return notes.length === 0 ? spec.description : `${spec.description} (${notes.join("; ")})`;
}

function exitStatusText(): string {
  const rows = exitStatuses.map(([status, meaning]) => `  ${status.padEnd(10)}  ${meaning}`);
  return ["Exit status:", ...rows].join("\n");
}

function commandNameOf(argv: readonly string[]): CommandName | undefined {
  return (Object.keys(commands) as CommandName[]).find((name) => name === argv[0]);
}

/** Options whose value can be left out get it, so that it is never the word behind them: `--trace app.wasm` is `--trace=text app.wasm`. */
export function completeOptions(argv: readonly string[]): readonly string[] {
  const completed = [...argv];
  // From the end, so that places stay as they are.
  for (const { place, option } of ownOptions(argv).reverse()) {
    if (option === undefined || !isOptional(option)) continue;
    const choices = option.choices ?? [];
    const next = argv[place + 1] ?? "";
    const isGiven = choices.includes(next);
    completed.splice(place, isGiven ? 2 : 1, `${argv[place]}=${isGiven ? next : choices[0]}`);
  }
  return completed;
}

const isOptional = ({ flags }: OptionSpec<unknown>): boolean => flags.includes("[");

/** The words that can be options of the command's own, as opposed to their values and to what is the guest's. */
function ownOptions(
  argv: readonly string[],
): { readonly place: number; readonly word: string; readonly option: OptionSpec<unknown> | undefined }[] {
  const name = commandNameOf(argv);
  if (name === undefined) return [];
  const spec: CommandSpec = commands[name];
  const valued = Object.values(spec.options).filter(({ parse }) => parse);
  const found = [];
  for (let place = 1; place < argv.length; place++) {
    const word = argv[place] ?? "";
    if (word === "--") break;
    const option = valued.find(({ flags }) => flags.split(/[ ,]+/).includes(word));
    if (option === undefined && !word.startsWith("-") && spec.passThrough) break;
    found.push({ place, word, option });
    if (option && (!isOptional(option) || option.choices?.includes(argv[place + 1] ?? ""))) place++;
  }
  return found;
}

/** Whether the command is given --json, also where the parser fails before it comes to it. */
export function wantsJson(argv: readonly string[]): boolean {
  return ownOptions(argv).some(({ word }) => word === "--json");
}
