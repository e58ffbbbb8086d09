// path_*: opening, making, moving and removing what a directory holds.
#include <algorithm>

#include "context.h"
#include "guest_path.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

// A directory of the guest's and a path in it, as two or three arguments name them.
struct Place {
  Directory* directory = nullptr;
  const Entry* entry = nullptr;
  std::string path;
};

Errno read_place(Context& context, HostCall& call, size_t fd_at, size_t path_at, Rights rights, Place* to) {
  Errno error = find_directory(context, call.u32(fd_at), rights, &to->entry, &to->directory);
  return error == Errno::Success ? read_path(call.memory, call.u32(path_at), call.u32(path_at + 1), &to->path) : error;
}

// Both places of path_link and path_rename, which must be of one file system.
Errno read_places(Context& context, HostCall& call, const Place& from, size_t fd_at, Rights rights, Place* to) {
  Errno error = read_place(context, call, fd_at, fd_at + 1, rights, to);
  if (error != Errno::Success) return error;
  return from.directory->file_system() == to->directory->file_system() ? Errno::Success : Errno::Xdev;
}

struct OpenCall {
  uint32_t lookup_flags, open_flags, flags;
  Rights base, inheriting;
};

// What the directory must grant for it, after CloudABI, from which these rights come.
bool may_open(const Entry& entry, const OpenCall& open) noexcept {
  Rights base = kRightPathOpen, inheriting = open.base | open.inheriting;
  if ((open.open_flags & kOflagCreat) != 0) base |= kRightPathCreateFile;
  if ((open.open_flags & kOflagTrunc) != 0) base |= kRightPathFilestatSetSize;
  if ((open.flags & kFdflagDsync) != 0) inheriting |= kRightFdDatasync;
  if ((open.flags & (kFdflagRsync | kFdflagSync)) != 0) inheriting |= kRightFdSync;
  return entry.has(base) && (entry.inheriting & inheriting) == inheriting;
}

OpenRequest request_of(const OpenCall& open) noexcept {
  OpenRequest request;
  request.follow = (open.lookup_flags & kLookupflagSymlinkFollow) != 0;
  request.create = (open.open_flags & kOflagCreat) != 0;
  request.directory = (open.open_flags & kOflagDirectory) != 0;
  request.exclusive = (open.open_flags & kOflagExcl) != 0;
  request.truncate = (open.open_flags & kOflagTrunc) != 0;
  request.read = (open.base & kRightFdRead) != 0;
  request.write = (open.base & (kRightFdWrite | kRightFdAllocate | kRightFdFilestatSetSize)) != 0;
  request.flags = open.flags;
  return request;
}

}  // namespace

HostCallAction path_open(Context& context, HostCall& call, Dialect) {
  uint32_t result_at = call.u32(8);
  // Rights that nothing in a directory has are not asked for: "the implementation is allowed to return a file descriptor with fewer
  // rights than specified, if and only if those rights do not apply to the type of file being opened".
  OpenCall open{call.u32(1), call.u32(4), call.u32(7), call.u64(5) & kInheritedRights, call.u64(6) & kInheritedRights};
  Place at;
  Errno error = find_directory(context, call.u32(0), kRightPathOpen, &at.entry, &at.directory);
  if (error != Errno::Success) return answer(call, error);
  bool known = (open.lookup_flags & ~kLookupflagsAll) == 0 && (open.open_flags & ~kOflagsAll) == 0 && (open.flags & ~kFdflagsAll) == 0;
  bool both = (open.open_flags & kOflagCreat) != 0 && (open.open_flags & kOflagDirectory) != 0;
  if (!known || both) return answer(call, Errno::Inval);
  error = read_path(call.memory, call.u32(2), call.u32(3), &at.path);
  if (error != Errno::Success) return answer(call, error);
  // All that can fail before something is made.
  if (!in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  if (!may_open(*at.entry, open)) return answer(call, Errno::Notcapable);
  if (context.descriptors.full()) return answer(call, Errno::Mfile);
  Entry entry;
  error = at.directory->open(at.path, request_of(open), &entry.object);
  if (error != Errno::Success) return answer(call, error);
  entry.base = open.base & entry.object->base_rights();
  entry.inheriting = open.inheriting & entry.object->inheriting_rights();
  return answer_written(call, call.memory.write_value(result_at, context.descriptors.add(std::move(entry))));
}

HostCallAction path_create_directory(Context& context, HostCall& call, Dialect) {
  Place at;
  Errno error = read_place(context, call, 0, 1, kRightPathCreateDirectory, &at);
  return answer(call, error == Errno::Success ? at.directory->create_directory(at.path) : error);
}

HostCallAction path_remove_directory(Context& context, HostCall& call, Dialect) {
  Place at;
  Errno error = read_place(context, call, 0, 1, kRightPathRemoveDirectory, &at);
  return answer(call, error == Errno::Success ? at.directory->remove_directory(at.path) : error);
}

HostCallAction path_unlink_file(Context& context, HostCall& call, Dialect) {
  Place at;
  Errno error = read_place(context, call, 0, 1, kRightPathUnlinkFile, &at);
  return answer(call, error == Errno::Success ? at.directory->unlink(at.path) : error);
}

HostCallAction path_link(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(1);
  Place from, to;
  Errno error = read_place(context, call, 0, 2, kRightPathLinkSource, &from);
  if (error == Errno::Success) error = read_places(context, call, from, 4, kRightPathLinkTarget, &to);
  if (error == Errno::Success && (flags & ~kLookupflagsAll) != 0) error = Errno::Inval;
  if (error != Errno::Success) return answer(call, error);
  return answer(call, from.directory->link(from.path, (flags & kLookupflagSymlinkFollow) != 0, *to.directory, to.path));
}

HostCallAction path_rename(Context& context, HostCall& call, Dialect) {
  Place from, to;
  Errno error = read_place(context, call, 0, 1, kRightPathRenameSource, &from);
  if (error == Errno::Success) error = read_places(context, call, from, 3, kRightPathRenameTarget, &to);
  return answer(call, error == Errno::Success ? from.directory->rename(from.path, *to.directory, to.path) : error);
}

HostCallAction path_symlink(Context& context, HostCall& call, Dialect) {
  Place at;
  std::string target;
  Errno error = read_place(context, call, 2, 3, kRightPathSymlink, &at);
  if (error == Errno::Success) error = read_path(call.memory, call.u32(0), call.u32(1), &target);
  return answer(call, error == Errno::Success ? at.directory->create_symlink(target, at.path) : error);
}

// What does not fit is cut, as readlink(2) does.
HostCallAction path_readlink(Context& context, HostCall& call, Dialect) {
  uint32_t buffer_at = call.u32(3), bytes = call.u32(4), result_at = call.u32(5);
  Place at;
  Errno error = read_place(context, call, 0, 1, kRightPathReadlink, &at);
  if (error != Errno::Success) return answer(call, error);
  if (!in_bounds(call.memory, buffer_at, bytes) || !in_bounds(call.memory, result_at, sizeof(uint32_t))) return answer(call, Errno::Fault);
  std::string target;
  error = at.directory->read_link(at.path, &target);
  if (error != Errno::Success) return answer(call, error);
  auto count = static_cast<uint32_t>(std::min<size_t>(bytes, target.size()));
  return answer_written(call, call.memory.write(buffer_at, target.data(), count) && call.memory.write_value(result_at, count));
}

}  // namespace barecell::wasi
