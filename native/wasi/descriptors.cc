// fd_*: the guest's descriptors 0, 1 and 2. No directory is preopened, and no other descriptor exists.
#include "context.h"

namespace barecell::wasi {
namespace {

// Reading and writing are the same but for the direction. `move` does it.
template <typename Move>
HostCallAction transfer(Context& context, HostCall& call, uint64_t right, Move move) {
  uint32_t fd = call.u32(0), list_at = call.u32(1), list_count = call.u32(2), result_at = call.u32(3);
  Stream* stream = context.stream(fd);
  if (stream == nullptr) return answer(call, Errno::Badf);
  // wasi-libc makes POSIX's EBADF of this one.
  if ((stream->rights() & right) == 0) return answer(call, Errno::Notcapable);
  GuestBuffers buffers;
  if (Errno error = buffers.load(call.memory, list_at, list_count); error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  Transfer done;
  // No bytes asked for: done, without waiting.
  if (buffers.left() > 0) done = move(*stream, buffers);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  // At most GuestBuffers::kMaxBytes.
  return answer_written(call, call.memory.write_value(result_at, static_cast<uint32_t>(done.bytes)));
}

}  // namespace

HostCallAction fd_read(Context& context, HostCall& call, Dialect) {
  return transfer(context, call, kRightFdRead, [&](Stream& stream, GuestBuffers& buffers) { return stream.read(buffers, call); });
}

HostCallAction fd_write(Context& context, HostCall& call, Dialect) {
  return transfer(context, call, kRightFdWrite,
                  [&](Stream& stream, GuestBuffers& buffers) { return stream.write(buffers, call, context.budget); });
}

HostCallAction fd_close(Context& context, HostCall& call, Dialect) {
  Stream* stream = context.stream(call.u32(0));
  if (stream == nullptr) return answer(call, Errno::Badf);
  stream->close();
  return answer(call, Errno::Success);
}

// Streams cannot be moved in, whatever they are on the host: its offset is shared with others. They lack the rights too, but
// ESPIPE is what programs ask for to fall back to plain reading (wasi-libc makes it of ENOTCAPABLE; Zig's library does not), and
// what wasmtime answers. An unknown `whence` is EINVAL. The known ones are the numbers 0 to 2 in both dialects; which is which
// makes no difference before there are files.
HostCallAction fd_seek(Context& context, HostCall& call, Dialect) {
  uint32_t fd = call.u32(0), whence = call.u32(2);
  if (context.stream(fd) == nullptr) return answer(call, Errno::Badf);
  return answer(call, whence < kWhenceValues ? Errno::Spipe : Errno::Inval);
}

HostCallAction fd_tell(Context& context, HostCall& call, Dialect) {
  return answer(call, context.stream(call.u32(0)) == nullptr ? Errno::Badf : Errno::Spipe);
}

HostCallAction fd_fdstat_get(Context& context, HostCall& call, Dialect) {
  const Stream* stream = context.stream(call.u32(0));
  if (stream == nullptr) return answer(call, Errno::Badf);
  Fdstat result{};
  result.fs_filetype = static_cast<uint8_t>(stream->filetype());
  result.fs_flags = static_cast<uint16_t>(stream->flags());
  result.fs_rights_base = stream->rights();
  return answer_written(call, call.memory.write_value(call.u32(1), result));
}

// NONBLOCK takes effect. APPEND is true of every stream. Synchronous output is refused rather than promised and not done.
HostCallAction fd_fdstat_set_flags(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(1);
  Stream* stream = context.stream(call.u32(0));
  if (stream == nullptr) return answer(call, Errno::Badf);
  if ((flags & ~kFdflagsAll) != 0) return answer(call, Errno::Inval);
  if ((flags & (kFdflagDsync | kFdflagRsync | kFdflagSync)) != 0) return answer(call, Errno::Notsup);
  stream->set_flags(flags);
  return answer(call, Errno::Success);
}

HostCallAction fd_filestat_get(Context& context, HostCall& call, Dialect dialect) {
  const Stream* stream = context.stream(call.u32(0));
  if (stream == nullptr) return answer(call, Errno::Badf);
  Filestat result = stream->stat();
  if (dialect == Dialect::Preview1) return answer_written(call, call.memory.write_value(call.u32(1), result));
  FilestatUnstable older{};
  older.dev = result.dev;
  older.ino = result.ino;
  older.filetype = result.filetype;
  older.nlink = static_cast<uint32_t>(result.nlink);
  older.size = result.size;
  older.atim = result.atim;
  older.mtim = result.mtim;
  older.ctim = result.ctim;
  return answer_written(call, call.memory.write_value(call.u32(1), older));
}

// Programs ask from descriptor 3 on until they get EBADF, and so learn that there is no directory.
HostCallAction fd_prestat_get(Context&, HostCall& call, Dialect) { return answer(call, Errno::Badf); }
HostCallAction fd_prestat_dir_name(Context&, HostCall& call, Dialect) { return answer(call, Errno::Badf); }

}  // namespace barecell::wasi
