// sock_*
#include "context.h"
#include "sockets.h"

namespace barecell::wasi {
namespace {

// What it is comes before what it may: a file is ENOTSOCK whatever its rights are.
Errno find_socket(Context& context, uint32_t fd, Rights rights, const Entry** entry, Socket** to) {
  *entry = context.descriptors.find(fd);
  if (*entry == nullptr) return Errno::Badf;
  *to = (*entry)->object->as_socket();
  if (*to == nullptr) return Errno::Notsock;
  return (*entry)->has(rights) ? Errno::Success : Errno::Notcapable;
}

}  // namespace

HostCallAction sock_accept(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(1), result_at = call.u32(2);
  const Entry* entry = nullptr;
  Socket* socket = nullptr;
  Errno error = find_socket(context, call.u32(0), kRightSockAccept, &entry, &socket);
  if (error != Errno::Success) return answer(call, error);
  if ((flags & ~kFdflagsAll) != 0) return answer(call, Errno::Inval);
  if ((flags & (kFdflagDsync | kFdflagRsync | kFdflagSync)) != 0) return answer(call, Errno::Notsup);
  if (!in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  if (context.descriptors.full()) return answer(call, Errno::Mfile);
  Entry accepted;
  Transfer done = socket->accept(flags, call, &accepted.object);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  accepted.base = entry->inheriting & accepted.object->base_rights();
  return answer_written(call, call.memory.write_value(result_at, context.descriptors.add(std::move(accepted))));
}

HostCallAction sock_recv(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(3), count_at = call.u32(4), flags_at = call.u32(5);
  const Entry* entry = nullptr;
  Socket* socket = nullptr;
  Errno error = find_socket(context, call.u32(0), kRightFdRead, &entry, &socket);
  if (error != Errno::Success) return answer(call, error);
  if ((flags & ~kRiflagsAll) != 0) return answer(call, Errno::Inval);
  GuestBuffers buffers;
  error = buffers.load(call.memory, call.u32(1), call.u32(2));
  if (error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, count_at, sizeof(uint32_t)) || !in_bounds(call.memory, flags_at, sizeof(uint16_t))) return answer(call, Errno::Fault);
  Transfer done;
  bool truncated = false;
  if (buffers.left() > 0) done = socket->receive(buffers, flags, &truncated, call);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  uint16_t result_flags = truncated ? kRoflagDataTruncated : uint16_t{0};
  return answer_written(call, call.memory.write_value(count_at, static_cast<uint32_t>(done.bytes)) &&
                                  call.memory.write_value(flags_at, result_flags));
}

// "As there are currently no flags defined, it must be set to zero."
HostCallAction sock_send(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(3), count_at = call.u32(4);
  const Entry* entry = nullptr;
  Socket* socket = nullptr;
  Errno error = find_socket(context, call.u32(0), kRightFdWrite, &entry, &socket);
  if (error != Errno::Success) return answer(call, error);
  if (flags != 0) return answer(call, Errno::Inval);
  GuestBuffers buffers;
  error = buffers.load(call.memory, call.u32(1), call.u32(2));
  if (error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, count_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  Transfer done;
  if (buffers.left() > 0) done = socket->write(buffers, call);
  if (done.action != HostCallAction::Continue) return done.action;
  if (done.error != Errno::Success) return answer(call, done.error);
  return answer_written(call, call.memory.write_value(count_at, static_cast<uint32_t>(done.bytes)));
}

HostCallAction sock_shutdown(Context& context, HostCall& call, Dialect) {
  uint32_t how = call.u32(1);
  const Entry* entry = nullptr;
  Socket* socket = nullptr;
  Errno error = find_socket(context, call.u32(0), kRightSockShutdown, &entry, &socket);
  if (error != Errno::Success) return answer(call, error);
  if (how == 0 || (how & ~kSdflagsAll) != 0) return answer(call, Errno::Inval);
  return answer(call, socket->shutdown(how));
}

}  // namespace barecell::wasi
