/** A guest that does what a script says, so that a test can have any sequence of calls happen within one run. */
import type { CompileOptions, Image, MicroVM } from "./barecell.ts";
import { imageOf } from "./modules.ts";

const NUMBERS = {
  write: 1,
  read: 2,
  close: 3,
  renumber: 4,
  setRights: 5,
  setFlags: 6,
  open: 7,
  yield: 8,
  spin: 9,
  trap: 10,
  exit: 11,
  writeRaw: 12,
  grow: 13,
  writeMany: 14,
} as const;

/**
 * - `write fd text`, `writeRaw fd list count result`, `writeMany fd text times`: `times` iovecs of the same text
 * - `read length`: from descriptor 0
 * - `open name`: at descriptor 3, for appending; it gets the number 4 and up
 * - `spin count`: rounds of an empty loop, 0 for ever
 */
export type Step =
  | readonly ["write" | "writeMany", fd: number, text: string, times?: number]
  | readonly ["writeRaw", fd: number, list: number, count: number, result: number]
  | readonly ["open", name: string]
  | readonly [Exclude<keyof typeof NUMBERS, "write" | "writeMany" | "writeRaw" | "open">, ...number[]];

/** The steps' errno, and the count that fd_write left. */
export interface StepResult {
  readonly errno: number;
  readonly count: number;
}

/** Script at 4096, 32 bytes a step; results at 16384, 8 bytes each; texts from 32768 on. */
const SCRIPT = 4096;
const RESULTS = 16384;
const TEXTS = 32768;

/** Rounds of an empty loop. One without an effect the C compiler would leave out. */
export const SPIN = `(func $spin (param i32)
    (loop $again
      (i32.store (i32.const 128) (local.get 0))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0))))`;

export const scriptModule = (wasi: string, memory = '(memory (export "memory") 2 4)'): string => `(module
  (import "${wasi}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "${wasi}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "${wasi}" "fd_close" (func $close (param i32) (result i32)))
  (import "${wasi}" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "${wasi}" "fd_fdstat_set_rights" (func $rights (param i32 i64 i64) (result i32)))
  (import "${wasi}" "fd_fdstat_set_flags" (func $flags (param i32 i32) (result i32)))
  (import "${wasi}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "${wasi}" "sched_yield" (func $yield (result i32)))
  (import "${wasi}" "proc_exit" (func $exit (param i32)))
  ${memory}
  ${SPIN}
  (func $for_ever (loop $again (br $again)))
  (func $many (param $fd i32) (param $at i32) (param $length i32) (param $times i32) (result i32) (local $i i32)
    (loop $again
      (i32.store (i32.add (i32.const 256) (i32.mul (local.get $i) (i32.const 8))) (local.get $at))
      (i32.store (i32.add (i32.const 260) (i32.mul (local.get $i) (i32.const 8))) (local.get $length))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $times))))
    (call $write (local.get $fd) (i32.const 256) (local.get $times) (i32.const 8)))
  (func $step (param $op i32) (param $a i32) (param $b i32) (param $c i32) (param $d i32) (result i32)
    (i32.store (i32.const 0) (local.get $b))
    (i32.store (i32.const 4) (local.get $c))
    (if (i32.eq (local.get $op) (i32.const 1))
      (then (return (call $write (local.get $a) (i32.const 0) (i32.const 1) (i32.const 8)))))
    (if (i32.eq (local.get $op) (i32.const 2))
      (then
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (local.get $a))
        (return (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))
    (if (i32.eq (local.get $op) (i32.const 3)) (then (return (call $close (local.get $a)))))
    (if (i32.eq (local.get $op) (i32.const 4)) (then (return (call $renumber (local.get $a) (local.get $b)))))
    (if (i32.eq (local.get $op) (i32.const 5))
      (then (return (call $rights (local.get $a) (i64.extend_i32_u (local.get $b)) (i64.const 0)))))
    (if (i32.eq (local.get $op) (i32.const 6)) (then (return (call $flags (local.get $a) (local.get $b)))))
    (if (i32.eq (local.get $op) (i32.const 7))
      (then (return (call $open (i32.const 3) (i32.const 0) (local.get $b) (local.get $c) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 1) (i32.const 8)))))
    (if (i32.eq (local.get $op) (i32.const 8)) (then (return (call $yield))))
    (if (i32.eq (local.get $op) (i32.const 9))
      (then (if (local.get $a) (then (call $spin (local.get $a))) (else (call $for_ever)))))
    (if (i32.eq (local.get $op) (i32.const 10)) (then (unreachable)))
    (if (i32.eq (local.get $op) (i32.const 11)) (then (call $exit (local.get $a))))
    (if (i32.eq (local.get $op) (i32.const 12))
      (then (return (call $write (local.get $a) (local.get $b) (local.get $c) (local.get $d)))))
    (if (i32.eq (local.get $op) (i32.const 13)) (then (return (memory.grow (local.get $a)))))
    (if (i32.eq (local.get $op) (i32.const 14))
      (then (return (call $many (local.get $a) (local.get $b) (local.get $c) (local.get $d)))))
    (i32.const 0))
  (func (export "run") (param $at i32) (param $count i32) (local $result i32)
    (local.set $result (i32.const ${RESULTS}))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (i32.store (i32.const 8) (i32.const -1))
        (i32.store (local.get $result) (call $step
          (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)) (i32.load offset=8 (local.get $at))
          (i32.load offset=12 (local.get $at)) (i32.load offset=16 (local.get $at))))
        (i32.store offset=4 (local.get $result) (i32.load (i32.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (local.set $result (i32.add (local.get $result) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))))`;

export const scriptImage = (wasi = "wasi_snapshot_preview1", options: CompileOptions = {}): Promise<Image> =>
  imageOf("output-script", scriptModule(wasi), options);

type Memory = Pick<MicroVM["memory"], "write" | "read">;

/** Writes a script to a guest's memory. */
export function loadScript(memory: Memory, steps: readonly Step[]): void {
  if (steps.length * 32 > RESULTS - SCRIPT) throw new RangeError("the script is too long");
  let textAt = TEXTS;
  const words = new Int32Array(steps.length * 8);
  steps.forEach((step, i) => {
    const [name, ...rest] = step;
    const values = rest.map((value) => {
      if (typeof value === "number") return [value];
      const bytes = new TextEncoder().encode(value);
      const at = textAt;
      memory.write(at, bytes);
      textAt += bytes.length;
      return [at, bytes.length];
    });
    words.set([NUMBERS[name], ...(name === "open" ? [0] : []), ...values.flat()], i * 8);
  });
  memory.write(SCRIPT, new Uint8Array(words.buffer));
}

/** Arguments of the export `run`, after loadScript. */
export const runArguments = (steps: readonly Step[]): [number, number] => [SCRIPT, steps.length];

export function results(memory: Memory, steps: readonly Step[]): StepResult[] {
  const words = new Int32Array(memory.read(RESULTS, steps.length * 8).slice().buffer);
  return steps.map((_, i) => ({ errno: words[2 * i] ?? -1, count: words[2 * i + 1] ?? -1 }));
}

/** Runs a script on a thread of its own. */
export async function run(vm: MicroVM, ...steps: readonly Step[]): Promise<StepResult[]> {
  loadScript(vm.memory, steps);
  await vm.call("run", ...runArguments(steps));
  return results(vm.memory, steps);
}
