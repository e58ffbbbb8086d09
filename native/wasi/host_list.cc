// Reading directories of the host. Cookies are the kernel's own offsets, so nothing is kept between two calls, however many entries
// there are and whatever happens to them meanwhile.
#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "guest_path.h"
#include "host_directory.h"
#include "host_io.h"

namespace barecell::wasi {
namespace {

// struct linux_dirent64, which no header of the C library has.
struct HostEntry {
  uint64_t inode;
  int64_t next;
  uint16_t bytes;
  uint8_t type;
};
constexpr size_t kNameOffset = 19;

Filetype filetype_of_entry(uint8_t type) noexcept {
  switch (type) {
    case DT_REG: return Filetype::RegularFile;
    case DT_DIR: return Filetype::Directory;
    case DT_LNK: return Filetype::SymbolicLink;
    case DT_CHR: return Filetype::CharacterDevice;
    case DT_BLK: return Filetype::BlockDevice;
    case DT_SOCK: return Filetype::SocketStream;
    default: return Filetype::Unknown;
  }
}

}  // namespace

Transfer HostDirectory::list(uint64_t cookie, EntrySink& sink, HostCall& call) {
  // The kernel's offsets are signed. A cookie that it never gave is EINVAL, or some place in the directory.
  if (static_cast<int64_t>(cookie) < 0) return failed_with(Errno::Inval);
  if (lseek(fd_.get(), static_cast<off_t>(cookie), SEEK_SET) < 0) return failed_with(errno_of_host(errno));
  alignas(8) char block[16 << 10];
  for (;;) {
    if (wait_ready(call, -1, 0, false) == Gate::Stop) return {HostCallAction::Interrupted};
    long bytes = syscall(SYS_getdents64, fd_.get(), block, sizeof block);
    if (bytes < 0 && errno == EINTR) continue;
    // A directory that was removed while it is open is empty.
    if (bytes < 0 && errno != ENOENT) return failed_with(errno_of_host(errno));
    if (bytes <= 0) return {};
    for (long at = 0; at < bytes;) {
      HostEntry entry{};
      std::memcpy(&entry, block + at, kNameOffset);
      std::string_view name(block + at + kNameOffset);
      at += entry.bytes;
      // A name that a guest could not say back is not told. What lies above the preopened directory is nothing it was granted, so
      // `..` has no number; wasi-libc knows that of other hosts.
      if (!is_utf8(name)) continue;
      if (!sink.take(static_cast<uint64_t>(entry.next), name == ".." ? 0 : entry.inode, filetype_of_entry(entry.type), name)) return {};
    }
  }
}

}  // namespace barecell::wasi
