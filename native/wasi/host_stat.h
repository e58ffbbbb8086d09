// What the host says of a file, as WASI has it.
#pragma once

#include <sys/stat.h>

#include "types.h"

namespace barecell::wasi {

// $timestamp is unsigned: before 1970 is 1970.
inline uint64_t timestamp_of(const timespec& time) noexcept {
  return time.tv_sec < 0 ? 0 : static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

inline Filetype filetype_of_mode(mode_t mode) noexcept {
  if (S_ISREG(mode)) return Filetype::RegularFile;
  if (S_ISDIR(mode)) return Filetype::Directory;
  if (S_ISLNK(mode)) return Filetype::SymbolicLink;
  if (S_ISCHR(mode)) return Filetype::CharacterDevice;
  if (S_ISBLK(mode)) return Filetype::BlockDevice;
  if (S_ISSOCK(mode)) return Filetype::SocketStream;
  return Filetype::Unknown;
}

inline Filestat filestat_of_host(const struct stat& status) noexcept {
  Filestat result{};
  result.dev = status.st_dev;
  result.ino = status.st_ino;
  result.filetype = static_cast<uint8_t>(filetype_of_mode(status.st_mode));
  result.nlink = status.st_nlink;
  result.size = status.st_size < 0 ? 0 : static_cast<uint64_t>(status.st_size);
  result.atim = timestamp_of(status.st_atim);
  result.mtim = timestamp_of(status.st_mtim);
  result.ctim = timestamp_of(status.st_ctim);
  return result;
}

}  // namespace barecell::wasi
