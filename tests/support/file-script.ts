/** A guest that reads files as a script says, so that a test can have any sequence of calls happen within one run. */
import type { CompileOptions, Image, MicroVM } from "./barecell.ts";
import { imageOf } from "./modules.ts";
import { SPIN } from "./output-script.ts";

const NUMBERS = {
  read: 1,
  seek: 2,
  write: 3,
  open: 4,
  close: 5,
  renumber: 6,
  yield: 7,
  spin: 8,
  pread: 9,
  readTwo: 10,
  setRights: 11,
} as const;
type Name = keyof typeof NUMBERS;

/**
 * - `read fd length`, `readTwo fd length length` into two buffers, `pread fd length offset`
 * - `seek fd offset whence` (0 from the start, 1 from here, 2 from the end), `write fd length`: so many letters
 * - `open oflags only` the file `f` below descriptor 3, with 1 made if it is not there, and with 1 only to read; it gets the number 4 and up
 * - `spin count`: rounds of an empty loop
 */
export type FileStep = readonly [name: Name, ...number[]];

export interface FileResult {
  readonly errno: number;
  /** Bytes, offset or descriptor. */
  readonly count: number;
}

/** Script at 4096, 16 bytes a step; results at 16384, 8 bytes each; letters at 32768; what is read from 65536 on. */
const SCRIPT = 4096;
const RESULTS = 16384;
const LETTERS = 32768;
const READ = 65536;
const PAGES = 40;
/** fd_read, fd_seek, fd_tell; and fd_write. */
const READ_RIGHTS = (1 << 1) | (1 << 2) | (1 << 5);

const fileModule = (wasi: string): string => `(module
  (import "${wasi}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "${wasi}" "fd_pread" (func $pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "${wasi}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "${wasi}" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "${wasi}" "fd_close" (func $close (param i32) (result i32)))
  (import "${wasi}" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "${wasi}" "fd_fdstat_set_rights" (func $rights (param i32 i64 i64) (result i32)))
  (import "${wasi}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "${wasi}" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") ${PAGES})
  (data (i32.const 1024) "f")
  (global $to (mut i32) (i32.const ${READ}))
  ${SPIN}
  (func $step (param $op i32) (param $a i32) (param $b i32) (param $c i32) (result i32) (local $errno i32)
    (i32.store (i32.const 0) (global.get $to))
    (i32.store (i32.const 4) (local.get $b))
    (i32.store (i32.const 8) (i32.add (global.get $to) (local.get $b)))
    (i32.store (i32.const 12) (local.get $c))
    (if (i32.eq (local.get $op) (i32.const 1))
      (then (local.set $errno (call $read (local.get $a) (i32.const 0) (i32.const 1) (i32.const 64)))))
    (if (i32.eq (local.get $op) (i32.const 9))
      (then (local.set $errno
        (call $pread (local.get $a) (i32.const 0) (i32.const 1) (i64.extend_i32_u (local.get $c)) (i32.const 64)))))
    (if (i32.eq (local.get $op) (i32.const 10))
      (then (local.set $errno (call $read (local.get $a) (i32.const 0) (i32.const 2) (i32.const 64)))))
    (if (i32.or (i32.or (i32.eq (local.get $op) (i32.const 1)) (i32.eq (local.get $op) (i32.const 9))) (i32.eq (local.get $op) (i32.const 10)))
      (then
        (if (i32.eqz (local.get $errno)) (then (global.set $to (i32.add (global.get $to) (i32.load (i32.const 64))))))
        (return (local.get $errno))))
    (if (i32.eq (local.get $op) (i32.const 2))
      (then (return (call $seek (local.get $a) (i64.extend_i32_s (local.get $b)) (local.get $c) (i32.const 64)))))
    (if (i32.eq (local.get $op) (i32.const 3))
      (then
        (i32.store (i32.const 0) (i32.const ${LETTERS}))
        (return (call $write (local.get $a) (i32.const 0) (i32.const 1) (i32.const 64)))))
    (if (i32.eq (local.get $op) (i32.const 4))
      (then (return (call $open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (local.get $a)
        (select (i64.const ${READ_RIGHTS}) (i64.const ${READ_RIGHTS | (1 << 6)}) (local.get $b)) (i64.const 0) (i32.const 0) (i32.const 64)))))
    (if (i32.eq (local.get $op) (i32.const 5)) (then (return (call $close (local.get $a)))))
    (if (i32.eq (local.get $op) (i32.const 6)) (then (return (call $renumber (local.get $a) (local.get $b)))))
    (if (i32.eq (local.get $op) (i32.const 7)) (then (return (call $yield))))
    (if (i32.eq (local.get $op) (i32.const 8)) (then (call $spin (local.get $a))))
    (if (i32.eq (local.get $op) (i32.const 11))
      (then (return (call $rights (local.get $a) (i64.extend_i32_u (local.get $b)) (i64.const 0)))))
    (i32.const 0))
  (func (export "run") (param $at i32) (param $count i32) (result i32) (local $result i32)
    (local.set $result (i32.const ${RESULTS}))
    (global.set $to (i32.const ${READ}))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (i64.store (i32.const 64) (i64.const -1))
        (i32.store (local.get $result) (call $step
          (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)) (i32.load offset=8 (local.get $at))
          (i32.load offset=12 (local.get $at))))
        (i32.store offset=4 (local.get $result) (i32.load (i32.const 64)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $result (i32.add (local.get $result) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.sub (global.get $to) (i32.const ${READ}))))`;

export const fileImage = (wasi = "wasi_snapshot_preview1", options: CompileOptions = {}): Promise<Image> =>
  imageOf("file-script", fileModule(wasi), options);

export interface FileRun {
  readonly results: readonly FileResult[];
  /** All that was read, one after the other. */
  readonly read: string;
  /** VM exits, but for the one that ends the run. */
  readonly exits: number;
}

/** Writes the script, and tells the arguments of the export `run`. */
export function loadFileScript(
  memory: Pick<MicroVM["memory"], "write">,
  steps: readonly FileStep[],
): [number, number] {
  if (steps.length * 16 > RESULTS - SCRIPT) throw new RangeError("the script is too long");
  const words = new Int32Array(steps.length * 4);
  steps.forEach(([name, ...rest], i) => {
    words.set([NUMBERS[name], ...rest], i * 4);
  });
  memory.write(SCRIPT, new Uint8Array(words.buffer));
  memory.write(LETTERS, Buffer.from("abcdefghijklmnop".repeat(512)));
  return [SCRIPT, steps.length];
}

export async function runFileScript(vm: MicroVM, ...steps: FileStep[]): Promise<FileRun> {
  const script = loadFileScript(vm.memory, steps);
  const before = vm.exits.io;
  const bytes = (await vm.call("run", ...script)) as number;
  const view = Buffer.from(vm.memory.read(RESULTS, steps.length * 8));
  return {
    results: steps.map((_, i) => ({ errno: view.readInt32LE(8 * i), count: view.readInt32LE(8 * i + 4) })),
    read: Buffer.from(vm.memory.read(READ, bytes)).toString("latin1"),
    exits: vm.exits.io - before - 1,
  };
}
