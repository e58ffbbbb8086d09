/** What the arguments of WASI's functions are called and what they mean, so that a trace can show them. Names are those of the specification (preview 1). */

/** How an argument is to be read. `result`: the address where the function puts a number; `data`: an array of buffers. */
export type ArgumentKind =
  | "descriptor"
  | "number"
  | "signed"
  | "flags"
  | "pointer"
  | "text"
  | "data"
  | "result";

export interface ArgumentSignature {
  readonly name: string;
  readonly kind: ArgumentKind;
  /** Shown when the function has succeeded, as it puts something there. */
  readonly after: boolean;
  /** Of what is at a `result`. */
  readonly resultBytes: number;
  /** Name of the `result` that says how much of `text` or `data` counts. */
  readonly limit: string | undefined;
}

const KINDS: Readonly<Record<string, ArgumentKind>> = {
  fd: "descriptor",
  n: "number",
  s: "signed",
  f: "flags",
  p: "pointer",
  text: "text",
  data: "data",
};

/**
 * `name:kind`, in order. fd: descriptor; n: number; s: signed number; f: flags; p: address; *2, *4 and *8: address of a number of that many bytes, which the function
 * sets; text: address of a string, whose length comes next; data: address of buffers, whose number comes next. `<` after text or data: the function fills it,
 * as far as the argument says that is named behind it.
 */
const TABLE: Readonly<Record<string, string>> = {
  args_get: "argv:p argv_buf:p",
  args_sizes_get: "argc:*4 argv_buf_size:*4",
  clock_res_get: "id:n resolution:*8",
  clock_time_get: "id:n precision:n time:*8",
  environ_get: "environ:p environ_buf:p",
  environ_sizes_get: "environc:*4 environ_buf_size:*4",
  fd_advise: "fd:fd offset:n len:n advice:n",
  fd_allocate: "fd:fd offset:n len:n",
  fd_close: "fd:fd",
  fd_datasync: "fd:fd",
  fd_fdstat_get: "fd:fd stat:p",
  fd_fdstat_set_flags: "fd:fd flags:f",
  fd_fdstat_set_rights: "fd:fd fs_rights_base:f fs_rights_inheriting:f",
  fd_filestat_get: "fd:fd buf:p",
  fd_filestat_set_size: "fd:fd size:n",
  fd_filestat_set_times: "fd:fd atim:n mtim:n fst_flags:f",
  fd_pread: "fd:fd iovs:data<nread iovs_len:n offset:n nread:*4",
  fd_prestat_dir_name: "fd:fd path:text< path_len:n",
  fd_prestat_get: "fd:fd buf:p",
  fd_pwrite: "fd:fd iovs:data iovs_len:n offset:n nwritten:*4",
  fd_read: "fd:fd iovs:data<nread iovs_len:n nread:*4",
  fd_readdir: "fd:fd buf:p buf_len:n cookie:n bufused:*4",
  fd_renumber: "fd:fd to:fd",
  fd_seek: "fd:fd offset:s whence:n newoffset:*8",
  fd_sync: "fd:fd",
  fd_tell: "fd:fd offset:*8",
  fd_write: "fd:fd iovs:data iovs_len:n nwritten:*4",
  path_create_directory: "fd:fd path:text path_len:n",
  path_filestat_get: "fd:fd flags:f path:text path_len:n buf:p",
  path_filestat_set_times: "fd:fd flags:f path:text path_len:n atim:n mtim:n fst_flags:f",
  path_link: "old_fd:fd old_flags:f old_path:text old_path_len:n new_fd:fd new_path:text new_path_len:n",
  path_open:
    "fd:fd dirflags:f path:text path_len:n oflags:f fs_rights_base:f fs_rights_inheriting:f fdflags:f opened_fd:*4",
  path_readlink: "fd:fd path:text path_len:n buf:text<bufused buf_len:n bufused:*4",
  path_remove_directory: "fd:fd path:text path_len:n",
  path_rename: "fd:fd old_path:text old_path_len:n new_fd:fd new_path:text new_path_len:n",
  path_symlink: "old_path:text old_path_len:n fd:fd new_path:text new_path_len:n",
  path_unlink_file: "fd:fd path:text path_len:n",
  poll_oneoff: "in:p out:p nsubscriptions:n nevents:*4",
  proc_exit: "rval:n",
  proc_raise: "sig:n",
  // What it fills in is a secret of the guest's.
  random_get: "buf:p buf_len:n",
  sched_yield: "",
  sock_accept: "fd:fd flags:f opened_fd:*4",
  sock_recv: "fd:fd ri_data:data<ro_datalen ri_data_len:n ri_flags:f ro_datalen:*4 ro_flags:*2",
  sock_send: "fd:fd si_data:data si_data_len:n si_flags:f so_datalen:*4",
  sock_shutdown: "fd:fd how:f",
};

/** The specification's names of errno, in its order. */
const ERRNO_NAMES: readonly string[] = (
  "success 2big acces addrinuse addrnotavail afnosupport again already badf badmsg busy canceled child connaborted connrefused connreset deadlk destaddrreq dom " +
  "dquot exist fault fbig hostunreach idrm ilseq inprogress intr inval io isconn isdir loop mfile mlink msgsize multihop nametoolong netdown netreset netunreach " +
  "nfile nobufs nodev noent noexec nolck nolink nomem nomsg noprotoopt nospc nosys notconn notdir notempty notrecoverable notsock notsup notty nxio overflow " +
  "ownerdead perm pipe proto protonosupport prototype range rofs spipe srch stale timedout txtbsy xdev notcapable"
).split(" ");

function parse(text: string): ArgumentSignature {
  const [name = "", spelled = ""] = text.split(":");
  if (spelled.startsWith("*")) {
    return { name, kind: "result", after: true, resultBytes: Number(spelled.slice(1)), limit: undefined };
  }
  const [kind = "", limit] = spelled.split("<");
  return {
    name,
    kind: KINDS[kind] as ArgumentKind,
    after: limit !== undefined,
    resultBytes: 0,
    limit: limit || undefined,
  };
}

const signatures = new Map(
  Object.entries(TABLE).map(([name, text]) => [
    name,
    text === "" ? [] : text.split(" ").map((argument) => parse(argument)),
  ]),
);

/** Undefined for a function that WASI does not have. */
export function wasiArguments(name: string): readonly ArgumentSignature[] | undefined {
  return signatures.get(name);
}

/** `"noent"`; undefined for a number that is none. */
export function errnoName(errno: number): string | undefined {
  return ERRNO_NAMES[errno];
}
