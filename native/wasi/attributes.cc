// What is known of descriptors and files, and what of it can be set: *_fdstat_*, *_filestat_*, fd_advise, fd_allocate, fd_sync.
#include "context.h"
#include "guest_path.h"

namespace barecell::wasi {
namespace {

HostCallAction write_filestat(HostCall& call, Dialect dialect, uint32_t at, const Filestat& result) {
  if (dialect == Dialect::Preview1) return answer_written(call, call.memory.write_value(at, result));
  FilestatUnstable older{};
  older.dev = result.dev;
  older.ino = result.ino;
  older.filetype = result.filetype;
  older.nlink = static_cast<uint32_t>(result.nlink);
  older.size = result.size;
  older.atim = result.atim;
  older.mtim = result.mtim;
  older.ctim = result.ctim;
  return answer_written(call, call.memory.write_value(at, older));
}

// `now` is the guest's clock, which may not be the host's.
bool decode_times(uint64_t access, uint64_t modification, uint32_t flags, const Clocks& clocks, Times* to) noexcept {
  auto decode = [&](uint32_t at_flag, uint32_t now_flag, uint64_t value, TimeChange* change) {
    bool at = (flags & at_flag) != 0, now = (flags & now_flag) != 0;
    if (at) *change = {TimeChange::Kind::At, value};
    if (now) *change = clocks.is_fixed() ? TimeChange{TimeChange::Kind::At, clocks.realtime()} : TimeChange{TimeChange::Kind::Now, 0};
    return !(at && now);
  };
  return (flags & ~kFstflagsAll) == 0 && decode(kFstflagAtim, kFstflagAtimNow, access, &to->access) &&
         decode(kFstflagMtim, kFstflagMtimNow, modification, &to->modification);
}

template <typename Act>
HostCallAction with_entry(Context& context, HostCall& call, Rights rights, Act act) {
  const Entry* entry = nullptr;
  Errno error = find_entry(context, call.u32(0), rights, &entry);
  return answer(call, error == Errno::Success ? act(*entry) : error);
}

}  // namespace

// Nothing is done with advice: the host's page cache serves others too, and what one tenant will not need they may.
HostCallAction fd_advise(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdAdvise, [&](const Entry&) {
    bool known = call.u32(3) < kAdviceValues;
    bool possible = call.u64(1) <= INT64_MAX && call.u64(2) <= INT64_MAX;
    return known && possible ? Errno::Success : Errno::Inval;
  });
}

HostCallAction fd_allocate(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdAllocate,
                    [&](const Entry& entry) { return entry.object->allocate(call.u64(1), call.u64(2), call); });
}

HostCallAction fd_datasync(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdDatasync, [&](const Entry& entry) { return entry.object->sync(true); });
}

HostCallAction fd_sync(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdSync, [&](const Entry& entry) { return entry.object->sync(false); });
}

Fdstat fdstat_of(const Entry& entry) noexcept {
  Fdstat result{};
  result.fs_filetype = static_cast<uint8_t>(entry.object->filetype());
  result.fs_flags = static_cast<uint16_t>(entry.object->flags());
  result.fs_rights_base = entry.base;
  result.fs_rights_inheriting = entry.inheriting;
  return result;
}

HostCallAction fd_fdstat_get(Context& context, HostCall& call, Dialect) {
  const Entry* entry = context.descriptors.find(call.u32(0));
  if (entry == nullptr) return answer(call, Errno::Badf);
  return answer_written(call, call.memory.write_value(call.u32(1), fdstat_of(*entry)));
}

HostCallAction fd_fdstat_set_flags(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdFdstatSetFlags, [&](const Entry&) {
    uint32_t flags = call.u32(1);
    return (flags & ~kFdflagsAll) == 0 ? context.descriptors.change(call.u32(0))->object->set_flags(flags) : Errno::Inval;
  });
}

// "This can only be used to remove rights."
HostCallAction fd_fdstat_set_rights(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, 0, [&](const Entry& entry) {
    Rights base = call.u64(1), inheriting = call.u64(2);
    if ((base & ~entry.base) != 0 || (inheriting & ~entry.inheriting) != 0) return Errno::Notcapable;
    Entry& changed = *context.descriptors.change(call.u32(0));
    changed.base = base;
    changed.inheriting = inheriting;
    return Errno::Success;
  });
}

HostCallAction fd_filestat_get(Context& context, HostCall& call, Dialect dialect) {
  const Entry* entry = nullptr;
  Filestat result{};
  Errno error = find_entry(context, call.u32(0), kRightFdFilestatGet, &entry);
  if (error == Errno::Success) error = entry->object->stat(&result);
  return error == Errno::Success ? write_filestat(call, dialect, call.u32(1), result) : answer(call, error);
}

HostCallAction fd_filestat_set_size(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdFilestatSetSize, [&](const Entry& entry) { return entry.object->set_size(call.u64(1)); });
}

HostCallAction fd_filestat_set_times(Context& context, HostCall& call, Dialect) {
  return with_entry(context, call, kRightFdFilestatSetTimes, [&](const Entry& entry) {
    Times times;
    if (!decode_times(call.u64(1), call.u64(2), call.u32(3), context.clocks, &times)) return Errno::Inval;
    return entry.object->set_times(times);
  });
}

HostCallAction path_filestat_get(Context& context, HostCall& call, Dialect dialect) {
  uint32_t flags = call.u32(1);
  const Entry* entry = nullptr;
  Directory* directory = nullptr;
  std::string path;
  Errno error = find_directory(context, call.u32(0), kRightPathFilestatGet, &entry, &directory);
  if (error == Errno::Success && (flags & ~kLookupflagsAll) != 0) error = Errno::Inval;
  if (error == Errno::Success) error = read_path(call.memory, call.u32(2), call.u32(3), &path);
  Filestat result{};
  if (error == Errno::Success) error = directory->stat_path(path, (flags & kLookupflagSymlinkFollow) != 0, &result);
  return error == Errno::Success ? write_filestat(call, dialect, call.u32(4), result) : answer(call, error);
}

HostCallAction path_filestat_set_times(Context& context, HostCall& call, Dialect) {
  uint32_t flags = call.u32(1);
  const Entry* entry = nullptr;
  Directory* directory = nullptr;
  std::string path;
  Times times;
  Errno error = find_directory(context, call.u32(0), kRightPathFilestatSetTimes, &entry, &directory);
  if (error == Errno::Success && (flags & ~kLookupflagsAll) != 0) error = Errno::Inval;
  if (error == Errno::Success && !decode_times(call.u64(4), call.u64(5), call.u32(6), context.clocks, &times)) error = Errno::Inval;
  if (error == Errno::Success) error = read_path(call.memory, call.u32(2), call.u32(3), &path);
  if (error == Errno::Success) error = directory->set_times_path(path, (flags & kLookupflagSymlinkFollow) != 0, times);
  return answer(call, error);
}

}  // namespace barecell::wasi
