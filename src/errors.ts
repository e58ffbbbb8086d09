/**
 * The one table of errors. The `BarecellError` class, the types, the CLI's JSON, `docs/errors.md` and the tests are all made from
 * it, so a code cannot exist in one of them only.
 */

/** What kind of thing went wrong; decides the exit status of the command line. */
export type ErrorKind =
  | "usage"
  | "module"
  | "image"
  | "compile"
  | "host"
  | "trap"
  | "limit"
  | "state"
  | "internal";

interface ErrorEntry {
  readonly kind: ErrorKind;
  /** When it happens, in one sentence. */
  readonly when: string;
  /** What to do about it. */
  readonly cure: string;
}

export const errorTable = {
  BARECELL_ARGUMENT_INVALID: {
    kind: "usage",
    when: "An argument or option of the API or the command line has the wrong type or value.",
    cure: "Pass a value of the type the message names.",
  },
  BARECELL_EXPORT_NOT_FOUND: {
    kind: "usage",
    when: "The image has no exported function of that name.",
    cure: "Use one of the exports that `barecell inspect` lists.",
  },
  BARECELL_FILE_UNREADABLE: {
    kind: "usage",
    when: "A file could not be read: it does not exist, is a directory, or may not be read.",
    cure: "Check the path and its permissions; `cause` holds the system's error.",
  },
  BARECELL_FILE_UNWRITABLE: {
    kind: "host",
    when: "An output file could not be written.",
    cure: "Check the path, its permissions and the free space; `cause` holds the system's error.",
  },
  BARECELL_PREOPEN_FAILED: {
    kind: "usage",
    when: "A directory that the guest was to get could not be opened.",
    cure: "Check that the path is a directory that this process may read; the message holds the system's error.",
  },
  BARECELL_BUNDLE_INVALID: {
    kind: "usage",
    when: "A folder cannot be packed into an image: it holds what is neither a file nor a directory, a name that is not UTF-8, or more than the limits allow.",
    cure: "Leave out or replace what the message names: symbolic links by what they point to, for example with `cp -rL`.",
  },
  BARECELL_MODULE_INVALID: {
    kind: "module",
    when: "The input is not a valid WebAssembly module: empty, text, truncated, malformed or failing validation.",
    cure: "Rebuild the module; the message says at which byte it goes wrong.",
  },
  BARECELL_MODULE_UNSUPPORTED: {
    kind: "module",
    when: "The module is valid but uses something barecell does not run: a proposal beyond WebAssembly 2.0, a memory, table or global that is imported from the host, or a component.",
    cure: "Build the module without the feature that the message names, or compile it together with a module that exports what it imports.",
  },
  BARECELL_LINK_FAILED: {
    kind: "module",
    when: "One of several modules imports from another what that one does not export, or exports with another type; or, at boot, an imported memory or table is smaller than it must be.",
    cure: "Compare the import that the message names with the other module's exports (`barecell inspect`).",
  },
  BARECELL_MODULE_TOO_LARGE: {
    kind: "limit",
    when: "The module's file is larger than the limit of the compiler.",
    cure: "Raise `maxModuleBytes`, or build a smaller module.",
  },
  BARECELL_MEMORY_LIMIT: {
    kind: "limit",
    when: "The module declares more linear memory than the limit allows.",
    cure: "Raise `maxMemoryBytes` (`--max-memory`), or build the module with less initial memory.",
  },
  BARECELL_COMPILER_MISSING: {
    kind: "host",
    when: "No C compiler was found, or a header that the module needs is not installed.",
    cure: "Install the package that the message names, or name a compiler in the environment variable CC.",
  },
  BARECELL_COMPILE_FAILED: {
    kind: "compile",
    when: "wasm2c, the C compiler or the linker failed, or was killed.",
    cure: "See the message for the tool's own words; `cause` holds its output.",
  },
  BARECELL_COMPILE_LIMIT: {
    kind: "limit",
    when: "Compiling took more time, memory or output than its limit.",
    cure: "Raise `compileTimeoutMs`, `compileMemoryBytes` or `compileOutputBytes`, or build a smaller module.",
  },
  BARECELL_IMAGE_INVALID: {
    kind: "image",
    when: "The file is not an image, or is truncated or altered.",
    cure: "Compile the module again.",
  },
  BARECELL_IMAGE_VERSION: {
    kind: "image",
    when: "The image was made for another version of barecell's ABI.",
    cure: "Compile the module again with this version.",
  },
  BARECELL_IMAGE_CPU: {
    kind: "image",
    when: "The image needs features that this host's processor, or its KVM, does not offer.",
    cure: "Compile the module for this machine, with a lower `targetCpu`.",
  },
  BARECELL_IMPORT_DENIED: {
    kind: "usage",
    when: "The module imports a function that nobody grants, or with another type than the granted one has.",
    cure: 'Grant the import, or boot with `unknownImports: "trap"` or `"default"`.',
  },
  BARECELL_KVM_MISSING: {
    kind: "host",
    when: "/dev/kvm does not exist.",
    cure: "Enable virtualisation in the firmware, load the module kvm_intel or kvm_amd, or give the container the device.",
  },
  BARECELL_KVM_PERMISSION: {
    kind: "host",
    when: "/dev/kvm exists but may not be opened.",
    cure: "Add the user to the group `kvm` (`usermod -aG kvm $USER`, then log in again).",
  },
  BARECELL_KVM_UNSUITABLE: {
    kind: "host",
    when: "KVM lacks a capability that barecell needs, or has another API version.",
    cure: "Use a Linux kernel of version 5.10 or later.",
  },
  BARECELL_KVM_FAILED: {
    kind: "host",
    when: "A call to KVM or the kernel failed while making or running a VM.",
    cure: "See the message for the call and its error; limits on open files, memory or threads are the usual reason.",
  },
  BARECELL_HOST_LIMIT: {
    kind: "host",
    when: "A limit of the operating system's (open files, memory mappings, threads, memory) is too low for the VMs that are wanted: found before a `WorkerPool` starts, or met while making a VM.",
    cure: "Raise the limit that the message names, or make fewer VMs, or spread them over more `processes`.",
  },
  BARECELL_ADDON_MISSING: {
    kind: "host",
    when: "The native addon could not be loaded.",
    cure: "Build it with `npm run build:native`; g++, make and cmake are needed.",
  },
  BARECELL_TIMEOUT: {
    kind: "limit",
    when: "The guest ran longer than its `timeoutMs`, `guestTimeoutMs` or `cpuTimeMs`; `limit` says which.",
    cure: "Raise the limit, or find the endless loop with the backtrace.",
  },
  BARECELL_HOST_CALL_LIMIT: {
    kind: "limit",
    when: "The guest made more host calls in one call than `maxHostCalls`.",
    cure: "Raise the limit, or let the guest do more with each call.",
  },
  BARECELL_CALL_DEPTH: {
    kind: "limit",
    when: "Host functions called back into the guest deeper than `maxCallDepth`.",
    cure: "Raise the limit, or end the recursion between host and guest.",
  },
  BARECELL_CANCELLED: {
    kind: "limit",
    when: "A boot, call or compilation was stopped by its `AbortSignal`; `cause` is the signal's reason.",
    cure: "Expected where the signal is yours. A VM that was stopped in the middle of a call is poisoned.",
  },
  BARECELL_HOST_FUNCTION_FAILED: {
    kind: "host",
    when: "A function of the host's, called by the guest, threw or gave a value of the wrong type; `cause` is its error.",
    cure: "Mend the function that the message names. The guest was ended in the middle of its call.",
  },
  BARECELL_HOST_FUNCTION_ASYNC: {
    kind: "usage",
    when: "In a synchronous call the guest called a function of the host's that gave a promise, which the calling thread cannot wait for.",
    cure: "Use `call` instead of `callSync`, or make the function synchronous.",
  },
  BARECELL_POOL_FULL: {
    kind: "limit",
    when: "A pool has as many calls waiting as it may, or, for a synchronous call, all of its VMs are in use.",
    cure: "Raise `max` or `queueLimit`, or send less at a time; the caller may try again later.",
  },
  BARECELL_POOL_TIMEOUT: {
    kind: "limit",
    when: "A call waited for a VM of a pool longer than `queueTimeoutMs`.",
    cure: "Raise `max` or `queueTimeoutMs`, or send less at a time.",
  },
  BARECELL_POOL_CLOSED: {
    kind: "state",
    when: "A pool was used after `close()`, or closed while a call waited for a VM.",
    cure: "Make a new pool.",
  },
  BARECELL_WORKER_LOST: {
    kind: "host",
    when: "A worker process of a `WorkerPool` ended, or had to be killed, before it had answered a call; `cause` says how it ended. How far the call came is not known.",
    cure: "The pool has replaced the worker. Send the call again if it may run twice. If it happens often, see what ends the workers: memory (`dmesg`), or a host function that holds up the thread.",
  },
  BARECELL_HOST_MODULE_FAILED: {
    kind: "host",
    when: "The module that was named as `hostModule` of a `WorkerPool` could not be loaded in a worker process, or its default export gives no boot options; `cause` is its error.",
    cure: "Mend the module: its default export is an object of boot options, or a function that takes the image's name and returns one.",
  },
  BARECELL_RESULT_INVALID: {
    kind: "module",
    when: "A guest that was called with bytes or JSON broke the convention for them: no memory, a range outside its memory, or no JSON.",
    cure: "Build the guest with the helper sources for its language (docs/guest-convention.md).",
  },
  BARECELL_CONTEXT_STALE: {
    kind: "state",
    when: "The context of a host function was used after the function had ended, or its call had.",
    cure: "Use `context` only until the function returns or its promise settles.",
  },
  BARECELL_MEMORY_RANGE: {
    kind: "usage",
    when: "A range of bytes is not, or not as a whole, inside the guest's linear memory.",
    cure: "Check the pointer and length against `memory.byteLength`. Where they come from the guest, the guest is wrong.",
  },
  BARECELL_FUEL_EXHAUSTED: {
    kind: "limit",
    when: "The guest executed more than its `fuel` allows.",
    cure: "Raise `fuel` (`--fuel`), or find the loop with the backtrace.",
  },
  BARECELL_METERING_MISSING: {
    kind: "usage",
    when: "Fuel was limited or asked for, and the image does not count it.",
    cure: "Compile the module with `metering: true` (`--metering`).",
  },
  BARECELL_NOT_INSTANTIATED: {
    kind: "state",
    when: "A module of an image that is instantiated on demand was used before `vm.instantiate()`, after an instantiation that failed, or was instantiated twice.",
    cure: "Instantiate each module once, in order, before it is used.",
  },
  BARECELL_DISPOSED: {
    kind: "state",
    when: "The VM was used after `dispose()`.",
    cure: "Boot a new VM.",
  },
  BARECELL_POISONED: {
    kind: "state",
    when: "The VM was used after a call that did not return (trap, kill, exit), which leaves its memory as it was in the middle.",
    cure: "Reset the VM, or dispose it and boot a new one.",
  },
  BARECELL_SNAPSHOT_REFUSED: {
    kind: "state",
    when: "A snapshot was to be taken of a VM whose guest depends on something outside of its memory, which the message names, or that is too large.",
    cure: "Let the guest close what it opened, and give back what it holds, before the snapshot.",
  },
  BARECELL_BUSY: {
    kind: "state",
    when: "A call was made while another call of the same VM was running. A VM has one vCPU.",
    cure: "Await the running call first, or use several VMs.",
  },
  BARECELL_GUEST_EXIT: {
    kind: "state",
    when: "The guest ended itself with `proc_exit` during a call; `exitCode` holds the status.",
    cure: "Expected of WASI commands; use `vm.start()` to take the exit status as a value.",
  },
  BARECELL_GUEST_PROTOCOL: {
    kind: "trap",
    when: "The guest left the VM in a way compiled code never does: an unknown port, a wrong width, an input port or a bare address.",
    cure: "The image does not hold what the compiler made, or the guest is hostile. Dispose the VM.",
  },
  BARECELL_OUTPUT_LIMIT: {
    kind: "limit",
    when: "The guest wrote more captured output than `maxOutputBytes`.",
    cure: "Raise the limit, or let the guest write to a file descriptor instead.",
  },
  BARECELL_STREAM_FAILED: {
    kind: "host",
    when: "A stream or callback that was given for a guest's standard streams failed, was closed, or did not take the output in time; or no pipe could be made for it.",
    cure: "`cause` holds the stream's own error. The message says how the guest ended; so do `exitCode` and `backtrace`.",
  },
  BARECELL_STREAM_NEEDS_ASYNC: {
    kind: "usage",
    when: "A synchronous boot or call of a VM one of whose standard streams is a stream or a callback of JavaScript, which could not move while the thread is held up.",
    cure: 'Use `MicroVM.boot()`, `vm.call()` and `vm.instantiate()`, or bytes, "capture" or a descriptor for the stream.',
  },
  BARECELL_TRAP_UNREACHABLE: {
    kind: "trap",
    when: "The guest executed `unreachable`, as compilers emit for `abort`, panics and failed assertions.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_INTEGER_DIVIDE_BY_ZERO: {
    kind: "trap",
    when: "An integer was divided by zero.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_INTEGER_OVERFLOW: {
    kind: "trap",
    when: "A signed division overflowed, or a floating-point number was too large for the integer type.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_INVALID_CONVERSION: {
    kind: "trap",
    when: "A NaN was converted to an integer.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_OUT_OF_BOUNDS_MEMORY: {
    kind: "trap",
    when: "The guest accessed linear memory past its end.",
    cure: "See the backtrace for the function; the message has the address.",
  },
  BARECELL_TRAP_OUT_OF_BOUNDS_TABLE: {
    kind: "trap",
    when: "The guest used a table index past the table's end.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_UNINITIALIZED_ELEMENT: {
    kind: "trap",
    when: "An indirect call went to an empty table element.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_INDIRECT_CALL_TYPE_MISMATCH: {
    kind: "trap",
    when: "An indirect call went to a function of another type.",
    cure: "See the backtrace for the function.",
  },
  BARECELL_TRAP_STACK_EXHAUSTED: {
    kind: "trap",
    when: "The guest's stack ran into the unmapped hole below it.",
    cure: "Compile with a larger `stackBytes` (`--stack-size`), or find the recursion with the backtrace.",
  },
  BARECELL_TRAP_IMPORT_DENIED: {
    kind: "trap",
    when: 'The guest called an import that was not granted, whose port is closed (`unknownImports: "trap"`).',
    cure: "Grant the import that the message names.",
  },
  BARECELL_TRAP_PORT_DENIED: {
    kind: "trap",
    when: "The guest executed an `in` or `out` on a port that belongs to no import.",
    cure: "Compiled code never does this; the guest is hostile or corrupt.",
  },
  BARECELL_TRAP_PRIVILEGED_INSTRUCTION: {
    kind: "trap",
    when: "The guest executed an instruction that only ring 0 may execute.",
    cure: "Compiled code never does this; the guest is hostile or corrupt.",
  },
  BARECELL_TRAP_NON_CANONICAL_ADDRESS: {
    kind: "trap",
    when: "The guest used an address that no page table can map.",
    cure: "Compiled code never does this; the guest is hostile or corrupt.",
  },
  BARECELL_TRAP_ACCESS_DENIED: {
    kind: "trap",
    when: "The guest touched memory outside its linear memory and stack, or wrote to code, or executed data.",
    cure: "Compiled code never does this; the guest is hostile or corrupt.",
  },
  BARECELL_TRAP_ILLEGAL_INSTRUCTION: {
    kind: "trap",
    when: "The processor did not accept an instruction.",
    cure: "Compile for an older `targetCpu`; otherwise the guest is hostile or corrupt.",
  },
  BARECELL_TRAP_CPU_EXCEPTION: {
    kind: "trap",
    when: "The guest raised another processor exception; the message names its vector.",
    cure: "Compiled code never does this; the guest is hostile or corrupt.",
  },
  BARECELL_BENCH_PACKAGE_MISSING: {
    kind: "host",
    when: "`barecell bench` needs a package that draws or counts for its report, and it is not installed; they are optional dependencies.",
    cure: "Install them: `npm install vega vega-lite simple-statistics`.",
  },
  BARECELL_BENCH_NOTHING_MEASURED: {
    kind: "host",
    when: "None of the peers that `barecell bench` was to measure is there, or works.",
    cure: "See the message for each one's reason, and install or name another; `barecell doctor` says what barecell itself lacks.",
  },
  BARECELL_INTERNAL: {
    kind: "internal",
    when: "Something happened that barecell holds impossible.",
    cure: "Please report it with the message and the steps.",
  },
} as const satisfies Record<string, ErrorEntry>;

/** Every code a `BarecellError` can have. */
export type ErrorCode = keyof typeof errorTable;

/** One level of a guest's call stack at a trap, innermost first. */
export interface GuestFrame {
  /** Name of the WebAssembly function, or of barecell's own guest code. */
  readonly name: string;
  /** Index in the module's function index space; undefined for barecell's own guest code. */
  readonly functionIndex?: number;
  /** Name of its module, where the image has several. */
  readonly module?: string;
  /** Guest-virtual address, hexadecimal with `0x`. */
  readonly address: string;
}

export interface BarecellErrorDetails {
  readonly cause?: unknown;
  readonly backtrace?: readonly GuestFrame[];
  readonly exitCode?: number;
  readonly limit?: string;
}

/** The only error class that barecell throws. Tell errors apart by `code`, never by message. */
export class BarecellError extends Error {
  override readonly name = "BarecellError";
  readonly code: ErrorCode;
  /** The guest's call stack, innermost first; empty where no guest was running. */
  readonly backtrace: readonly GuestFrame[];
  /** Exit status, only with `BARECELL_GUEST_EXIT`. */
  readonly exitCode: number | undefined;
  /** Name of the option that was the limit, only with `BARECELL_TIMEOUT`. */
  readonly limit: string | undefined;

  constructor(code: ErrorCode, message: string, details: BarecellErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.backtrace = details.backtrace ?? [];
    this.exitCode = details.exitCode;
    this.limit = details.limit;
  }

  /** What to do about it, from the error table. */
  get cure(): string {
    return errorTable[this.code].cure;
  }

  get kind(): ErrorKind {
    return errorTable[this.code].kind;
  }

  /** For logs and the command line: code, message and backtrace, without the host's stack. */
  toJSON(): { code: ErrorCode; message: string; backtrace: readonly GuestFrame[] } {
    return { code: this.code, message: this.message, backtrace: this.backtrace };
  }
}

export function isBarecellError(error: unknown): error is BarecellError {
  return error instanceof BarecellError;
}

/** The system's error code (`"ENOENT"`) of a Node error, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/** A short text for any thrown value. */
export function errorText(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return "something that has no text";
  }
}
