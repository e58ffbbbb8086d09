/**
 * The one table of commands and options. The parser (program.ts), the help and `docs/cli.md` (docs.ts) are made from it, so an option
 * cannot exist in one of them only.
 */
import { TARGET_CPUS } from "../image/target-cpu.ts";
import {
  appendTo,
  bundle,
  choice,
  count,
  directory,
  fuelCount,
  memoryDirectory,
  milliseconds,
  names,
  optimizeLevel,
  pairs,
  percent,
  sizeInBytes,
  text,
} from "./option-values.ts";

/** One option. `parse` is absent for a switch without a value. */
export interface OptionSpec<T> {
  /** As commander reads them: `-o, --output <file>`. */
  readonly flags: string;
  readonly description: string;
  /** @param previous the value so far, for options that may stand several times */
  readonly parse?: (value: string, previous: T | undefined) => T;
  /** What holds without the option, in words, if anything does. */
  readonly standard?: string;
  readonly choices?: readonly string[];
}

/** One operand of a command. */
export interface OperandSpec {
  readonly name: string;
  readonly description: string;
  readonly optional?: true;
  /** Takes all that is left. */
  readonly rest?: true;
}

/** A command. */
export interface CommandSpec {
  readonly summary: string;
  /** Paragraphs of plain text. */
  readonly description: readonly string[];
  readonly operands: readonly OperandSpec[];
  /** Options stand before the first operand; what comes after it is left as it is. */
  readonly passThrough?: true;
  // biome-ignore lint/suspicious/noExplicitAny: the values' types differ from option to option; `OptionsOf` recovers them.
  readonly options: Readonly<Record<string, OptionSpec<any>>>;
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** What the fields of `--json` mean. */
  readonly json: readonly (readonly [field: string, meaning: string])[];
}

const flag = (flags: string, description: string): OptionSpec<boolean> => ({ flags, description });
const valued = <T>(
  flags: string,
  description: string,
  parse: (value: string, previous: T | undefined) => T,
  more: { readonly standard?: string; readonly choices?: readonly string[] } = {},
): OptionSpec<T> => ({ flags, description, parse, ...more });
const chosen = <const T extends string>(
  flags: string,
  description: string,
  choices: readonly T[],
  standard: T,
): OptionSpec<T> => valued(flags, description, choice(choices), { choices, standard });

/** An option whose value can be left out, which is its first choice then. */
const optional = <const T extends string>(
  flags: string,
  description: string,
  choices: readonly [T, ...T[]],
): OptionSpec<T> =>
  valued(flags, description, choice(choices), {
    choices,
    standard: `${choices[0]} if the format is left out`,
  });

const json = flag("--json", "print one JSON object on the last line of standard output");

const compileOptions = {
  targetCpu: chosen(
    "--target-cpu <level>",
    "processor level the code may use; host is the highest of this machine",
    ["host", ...TARGET_CPUS],
    "host",
  ),
  stackSize: valued("--stack-size <size>", "the guest's stack; bytes, or with K, M or G", sizeInBytes, {
    standard: "1M",
  }),
  optimize: valued(
    "--optimize <level>",
    "level of the C compiler, 0 to 3, or quick for the soonest result",
    optimizeLevel,
    { standard: "2" },
  ),
  metering: flag("--metering", "count what the guest executes, so that --fuel can limit it; costs speed"),
  cache: flag("--no-cache", "compile anew, and keep nothing in the cache"),
};

const failure = [["error", "only if it failed: `code` (see errors.md) and `message`"]] as const;

/** All commands, by name. */
export const commands = {
  run: {
    summary: "run a module or an image in a microVM",
    description: [
      "Runs `_start` of a WebAssembly module (.wasm, compiled first and kept in the cache) or of an image (.cell), or the export that --invoke names, in a new microVM.",
      "Options stand before the module; all that comes after it goes to the guest. One `--` right after the module is dropped, so `run app.wasm -- -v` and `run app.wasm -v` are the same.",
      "The guest gets WASI preview 1: the module's file name and the arguments, the variables that --env names and no others, and the standard streams. Of files and sockets it gets what --dir, --tmpfs and --socket name and what is packed into the image, and nothing else.",
      "With --invoke the arguments are numbers of the types that the export takes: decimal or 0x for integers, and nan, inf and -inf for floating point. If the module exports `_initialize`, it runs first.",
      "With --json the object is the last line of standard output. If the guest can write there, a line feed comes before the object, so what stands before that is exactly the guest's output.",
    ],
    operands: [
      { name: "module|image", description: "a .wasm module or a .cell image; told apart by content" },
      { name: "args", description: "arguments for the guest", optional: true, rest: true },
    ],
    passThrough: true,
    options: {
      invoke: valued("--invoke <export>", "call this exported function instead of `_start`", text),
      env: valued(
        "--env <NAME=VALUE>",
        "set an environment variable of the guest; repeatable",
        appendTo(pairs),
      ),
      dir: valued(
        "--dir <HOST::GUEST>",
        "give the guest a directory of the host under a path of its own, to read and write; with ::ro at the end only to read; repeatable",
        appendTo(directory),
      ),
      tmpfs: valued(
        "--tmpfs <GUEST::SIZE>",
        "give the guest an empty directory in memory, of at most this size (64M if it is left out); repeatable",
        appendTo(memoryDirectory),
      ),
      socket: valued(
        "--socket <fd>",
        "give the guest a socket that this process was started with, by its descriptor; it comes after the directories; repeatable",
        appendTo(count),
      ),
      deterministic: flag(
        "--deterministic",
        "give the guest a clock and random numbers that are the same in every run, and no secret",
      ),
      bundles: flag("--no-bundles", "do not give the guest the directories that are packed into the image"),
      maxOpenFiles: valued("--max-open-files <count>", "descriptors that the guest may have open", count, {
        standard: "256",
      }),
      maxWrite: valued(
        "--max-write <size>",
        "how much the guest may write to directories of the host; bytes, or with K, M or G",
        sizeInBytes,
        { standard: "1G" },
      ),
      boot: chosen(
        "--boot <way>",
        "walk from real mode up, or start in ring 3 with registers set by the host",
        ["staged", "direct"],
        "staged",
      ),
      trace: optional(
        "--trace [format]",
        "print every host call with its arguments, result and time on standard error, as lines for people or of JSON; one that the guest would answer itself (clocks, random numbers) goes to the host then",
        ["text", "json"],
      ),
      traceOut: valued("--trace-out <file>", "write the trace to a file instead", text),
      stats: flag(
        "--stats",
        "end with what the run used: time, host calls, exits, memory, page faults; on standard error, or with --json in the object",
      ),
      timeline: flag("--timeline", "print on standard error what the boot spent its time on"),
      maxMemory: valued(
        "--max-memory <size>",
        "how far linear memory may grow; bytes, or with K, M or G",
        sizeInBytes,
        { standard: "256M" },
      ),
      timeout: valued(
        "--timeout <ms>",
        "time for starting, and for the call, in milliseconds; 0 for none",
        milliseconds,
        { standard: "10000" },
      ),
      cpuTime: valued(
        "--cpu-time <ms>",
        "processor time for starting, and for the call, in milliseconds; 0 for none",
        milliseconds,
        { standard: "no limit but --timeout" },
      ),
      maxHostCalls: valued(
        "--max-host-calls <count>",
        "host calls that leave the VM, while starting, and in the call",
        count,
        { standard: "10000000" },
      ),
      fuel: valued(
        "--fuel <count>",
        "how many instructions starting, and the call, may execute; a module is compiled with --metering for it",
        fuelCount,
        { standard: "no limit" },
      ),
      unknownImports: chosen(
        "--unknown-imports <way>",
        "an import that nobody grants: refuse the module, trap when it is called, or return zeros",
        ["refuse", "trap", "default"],
        "refuse",
      ),
      ...compileOptions,
      capture: flag("--capture", "with --json: put the guest's output into the object"),
      json,
    },
    examples: [
      ["barecell run examples/hello/hello.wasm one two", "run a WASI command with two arguments"],
      ["barecell run --invoke add examples/add/add.wasm 2 3", "call an exported function; prints 5"],
      ["barecell run --timeline --boot direct app.cell", "run an image, and show where the time went"],
      ["barecell run --dir ./data::/data::ro --tmpfs /tmp::16M app.wasm /data/in.txt", "with directories"],
      ["barecell run --env LANG=C --timeout 2000 --max-memory 64M app.wasm -- --verbose", "with limits"],
      ["barecell run --json --capture app.wasm", "for programs: everything in one object"],
      ["barecell run --trace app.wasm", "show every host call, as strace shows system calls"],
      [
        "barecell run --trace json --trace-out calls.jsonl --stats app.wasm",
        "the same for programs, and what the run used",
      ],
    ],
    json: [
      ["ok", "true if the guest came to its own end, whatever its exit status"],
      ["results", "what the export returned; i64 and v128, NaN and infinities are strings"],
      ["exitCode", "the guest's exit status, 0 if it returned; null if it did not come to its end"],
      ["trap", "`code`, `message` and `backtrace` (innermost first) if the guest trapped, else null"],
      ["stdout, stderr", "only with --capture: what the guest wrote, read as UTF-8"],
      [
        "timings",
        "microseconds: `compileUs` (or loading the image), `createUs` (the host's steps of the boot until the registers are set), `bootUs` (the whole boot), `callUs`, `totalUs`",
      ],
      ["exits", "VM exits: `io` (host calls), `mmio`, `other`"],
      ["memory", "`linearBytes`: size of linear memory at the end"],
      ["fuelUsed", "a decimal number as a string, what the call executed; null without --metering"],
      [
        "stats",
        "only with --stats: `wallUs`, `cpu` (`userUs`, `systemUs`, `minorFaults`, `majorFaults`), `hostCalls` by name, `exits`, `linearBytes`, `growthRefusals`, `kvm`, `processPeakBytes`; see observability.md",
      ],
      ["error", "`code` and `message`, if a limit ended the guest; alone with `ok` if it could not run"],
    ],
  },
  compile: {
    summary: "compile a module, or several together, to an image",
    description: [
      "Compiles a WebAssembly module to an image, an ELF file that `run` boots without a compiler, and that readelf, objdump and gdb read.",
      "With --preinit the module's own initialisation runs once, in a microVM with WASI but without arguments, files and input; other imports trap. What it leaves in memory, tables and globals is in the image. It must close what it opens.",
      "Several modules are linked into one image and instantiated in the order given: each can import functions, memories, tables and globals from those before it, by their names. A module's name is that of its file, or what stands before a `=` (`env=runtime.wasm`; a file whose own name has a `=` is written as a path, `./a=b.wasm`). The last one is the main module: its exports are the image's.",
    ],
    operands: [
      { name: "modules", description: "a .wasm module, or name=file.wasm; one or more", rest: true },
    ],
    options: {
      output: valued("-o, --output <image>", "where to write the image", text, {
        standard: "the (last) module's path, ending in .cell",
      }),
      name: valued("--name <name>", "the name of a single module in messages", text, {
        standard: "the file's name",
      }),
      bundle: valued(
        "--bundle <HOST::GUEST>",
        "pack all files of a folder into the image; a guest with WASI finds them under this path, only to read; repeatable",
        appendTo(bundle),
      ),
      maxBundle: valued(
        "--max-bundle <size>",
        "most bytes of all packed files; bytes, or with K, M or G",
        sizeInBytes,
        { standard: "256M" },
      ),
      preinit: valued(
        "--preinit <export>",
        "run this export now, without arguments, and write the state after it: the image starts there (an exported `_initialize` runs before it)",
        text,
      ),
      ...compileOptions,
      json,
    },
    examples: [
      ["barecell compile app.wasm", "writes app.cell"],
      ["barecell compile --preinit init app.wasm", "an image that begins where `init` has ended"],
      [
        "barecell compile app.wasm -o build/app.cell --target-cpu x86-64-v2",
        "for machines older than this one, too",
      ],
      ["barecell compile env=runtime.wasm app.wasm", "app.wasm imports from `env`; writes app.cell"],
      [
        "barecell compile --bundle ./site::/www server.wasm",
        "with its files, for `barecell run server.cell`",
      ],
    ],
    json: [
      ["ok", "true if the image was written"],
      ["image", "its path"],
      ["name", "the (main) module's name"],
      ["modules", "the names of all modules, in order"],
      ["digest", "SHA-256 of the image"],
      ["sizeBytes", "its size"],
      ["cached", "whether the cache already had it, before --preinit"],
      ["snapshot", "whether it starts from a state that --preinit made"],
      ["compileUs", "microseconds"],
      ...failure,
    ],
  },
  inspect: {
    summary: "show what is in a module or an image",
    description: [
      "Shows exports, imports with their ports, segments with permissions and sizes, the memory map, limits, and what made the image. A module is compiled first.",
    ],
    operands: [{ name: "module|image", description: "a .wasm module or a .cell image" }],
    options: { ...compileOptions, json },
    examples: [
      ["barecell inspect app.cell", "for people"],
      ["barecell inspect --json app.wasm", "for programs"],
    ],
    json: [
      ["ok", "true"],
      ["name, module", "the (main) module's name; its `digest` and `sizeBytes`"],
      [
        "modules",
        "all modules in order: `name`, `digest`, `sizeBytes`, `memory` (place in `memories`, or null), `hasStart`, `exports`",
      ],
      ["abiVersion, targetCpu, metering, producer", "what the image is for, and what made it"],
      ["digest, sizeBytes", "of the image"],
      [
        "exports",
        "of the main module: `name`, `kind`; `type` of functions and globals; `mutable` of globals; `memory` of memories",
      ],
      ["imports", "`module`, `name`, `type`, `importer` (a module's name), `port` (hexadecimal)"],
      ["hasStart", "whether the module has a start function"],
      ["memory", "`minBytes`, `maxBytes` of the main module's linear memory; null if it has none"],
      ["memories", "all linear memories of the image"],
      ["tables", "`element`, `min`, `capacity`"],
      ["bundles", "directories packed into the image: `guest` (path), `files`, `directories`, `sizeBytes`"],
      ["stackBytes", "the guest's stack"],
      [
        "segments",
        "`purpose`, `virtual`, `physical`, `permissions`, `ring`, `fileOffset`, `fileBytes`, `memoryBytes`",
      ],
      ["memoryMap", "guest-virtual ranges in order: `from`, `to` (exclusive), `what`, `permissions`"],
      ...failure,
    ],
  },
  doctor: {
    summary: "check whether this machine can run barecell",
    description: [
      "Checks KVM, the processor, the addon, the C compiler and limits, boots a microVM, and names the cure of what is wrong. Exit status 1 if nothing can be run here.",
    ],
    operands: [],
    options: { json },
    examples: [["barecell doctor", "what is missing, and how to get it"]],
    json: [
      ["ok", "whether an image can be run here"],
      ["host", "`kind`: bare metal, nested, PVM or unknown"],
      ["checks", "`name`, `status` (ok, warn, fail, skip), `detail`, `cure`"],
      ["kvm", "API version and capabilities; null if KVM cannot be opened"],
    ],
  },
  bench: {
    summary: "measure what isolation costs, here; compare two reports",
    description: [
      "`bench isolation` runs the same function behind different walls, from a call in the same process over containers to microVMs, and measures time, memory and throughput, what a crash does to the host, and whether an endless loop can be stopped. It writes report.html, report.md, report.json and report.csv. A peer that is not there or may not run is listed with the reason; --list names peers and workloads. See docs/benchmarking.md.",
      "`bench compare` takes two report.json files, of one machine at two times or of two machines, and says what became slower or faster.",
      "Ctrl-C ends a measurement in good order: what was measured so far is reported, and containers and VMs are cleared up. A second Ctrl-C ends it at once.",
    ],
    operands: [
      { name: "what", description: "isolation, or compare" },
      { name: "reports", description: "with compare: two report.json files", optional: true, rest: true },
    ],
    options: {
      quick: flag("--quick", "few samples, to see that all works; under 3 minutes"),
      peers: valued("--peers <names>", "measure only these, separated by commas", names, { standard: "all" }),
      workload: valued("--workload <names>", "only these workloads, separated by commas", names, {
        standard: "all",
      }),
      samples: valued("--samples <count>", "samples of each peer and workload", count, {
        standard: "300; with --quick 30",
      }),
      out: valued("--out <folder>", "where to write the report", text, {
        standard: "isolation-report in the current folder",
      }),
      list: flag("--list", "name the peers and workloads, and measure nothing"),
      failAbove: valued(
        "--fail-above <percent>",
        "with compare: exit status 1 if a median of the second report is clearly slower than the first's by more than this",
        percent,
      ),
      json,
    },
    examples: [
      ["barecell bench isolation --out report", "everything that is there"],
      [
        "barecell bench isolation --quick --peers microvm-staged,runc,process --workload nothing,hash",
        "a look",
      ],
      ["barecell bench compare before/report.json after/report.json --fail-above 20", "for regressions"],
    ],
    json: [
      ["ok", "false if the measurement was interrupted, or a regression was found"],
      ["interrupted", "isolation: whether Ctrl-C ended it"],
      ["files", "isolation: the paths of the report's files; all figures are in report.json"],
      [
        "peers",
        "isolation: `name`, `status`, `reason`, `crash`, `stop`, `memory`, `throughput`; with --list `name`, `title`, `wall`",
      ],
      [
        "cells",
        "isolation: `peer`, `workload`, `status`, `reason`; `ready`, `result` and `end` in microseconds",
      ],
      ["workloads", "with --list: `name`, `title`"],
      [
        "changes",
        "compare: `peer`, `workload`, `measure`, `before`, `after`, `ratio`, `isClear`; microseconds, bytes or requests per second",
      ],
      ["machines", "compare: what is different about the machines, `what`, `before`, `after`"],
      ["missing", "compare: what only one of the reports has, in words"],
      ...failure,
    ],
  },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof commands;

type ValueOf<S> = S extends OptionSpec<infer T> ? T : never;

/** The values of a command's options; what was not given is absent, except switches with `no`, which are true then. */
export type OptionsOf<Name extends CommandName> = {
  readonly [K in keyof (typeof commands)[Name]["options"]]?: ValueOf<(typeof commands)[Name]["options"][K]>;
};

/** What the exit status of every command means. */
export const exitStatuses: readonly (readonly [status: string, meaning: string])[] = [
  ["0 to 255", "`run`: the guest's own exit status"],
  ["0", "done"],
  [
    "1",
    "an error that is none of the others; `doctor`: nothing can be run here; `bench compare`: slower than allowed",
  ],
  ["2", "wrong usage: options, arguments, a file that cannot be read, an export or import that is not there"],
  ["124", "`run`: the guest took longer than its --timeout or --cpu-time"],
  ["130", "`bench`: interrupted (128 + 2, as for a program that Ctrl-C ends); what was measured is written"],
  ["134", "`run`: the guest trapped (128 + 6, as for a program that aborts)"],
];

/** What a command is asked to do. */
export interface Invocation<Name extends CommandName> {
  readonly operands: readonly string[];
  readonly options: OptionsOf<Name>;
}

/** One function for each command; its value is the exit status. */
export type Handlers = {
  readonly [Name in CommandName]: (invocation: Invocation<Name>) => Promise<number>;
};
