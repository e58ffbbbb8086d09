// What a guest's descriptor can stand for: one small interface, and the kind of it that is a directory. A file system is a class of
// directories and the files that they open; the functions of the interface know no more of it than this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "buffers.h"
#include "types.h"

namespace barecell::wasi {

// What to do with a timestamp.
struct TimeChange {
  enum class Kind { Leave, Now, At };
  Kind kind = Kind::Leave;
  uint64_t nanoseconds = 0;
};
struct Times {
  TimeChange access;
  TimeChange modification;
};

// $whence, of either dialect
enum class Whence { Set, Current, End };

// What a guest may keep of its output before the host gets it (guest_output.h): nothing; what comes before a line's end, because somebody may be watching; what
// comes soon after something else; everything; or it is thrown away at once.
enum class Keep { Nothing, Lines, Bursts, Everything, Discard };

// What comes next in a file. `at_end`: nothing is behind it, and nothing can come there but by what the guest does itself.
struct Peeked {
  uint32_t bytes = 0;
  bool at_end = false;
};

// An open file, directory, stream or socket. Every operation has an answer for the kinds that it makes no sense for, so rights
// decide what a guest may do, but safety does not rest on them.
class Descriptor {
 public:
  Descriptor() = default;
  virtual ~Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // The rights that apply to something of this kind, opened in this way.
  virtual Rights base_rights() const noexcept = 0;
  virtual Rights inheriting_rights() const noexcept { return 0; }
  virtual Filetype filetype() const noexcept = 0;
  virtual Errno stat(Filestat* to) noexcept = 0;

  // $fdflags as the guest set them. They never reach a descriptor of the host: its flags may be shared with others.
  uint32_t flags() const noexcept { return flags_; }
  virtual Errno set_flags(uint32_t flags) noexcept {
    flags_ = flags;
    return Errno::Success;
  }
  bool has_flag(uint32_t flag) const noexcept { return (flags_ & flag) != 0; }

  // `buffers` holds at least one byte. May throw std::bad_alloc.
  virtual Transfer read(GuestBuffers&, HostCall&) { return failed_with(Errno::Notsup); }
  virtual Transfer write(GuestBuffers&, HostCall&) { return failed_with(Errno::Notsup); }
  virtual Transfer read_at(GuestBuffers&, uint64_t, HostCall&) { return failed_with(Errno::Spipe); }
  virtual Transfer write_at(GuestBuffers&, uint64_t, HostCall&) { return failed_with(Errno::Spipe); }

  // Where nobody else reads from the same place: what the next reads would get, copied without reading it, or as much of it as there is at once. No bytes and no
  // end: it is not known.
  virtual Peeked peek(std::span<uint8_t>) noexcept { return {}; }
  // Reads so many of the bytes that peek() has just copied.
  virtual void skip(uint32_t) noexcept {}

  // Not Nothing: what is written needs no answer, as write_kept() will do.
  virtual Keep keep() const noexcept { return Keep::Nothing; }
  // Writes what the guest was told is written. What fails is told by the next write.
  virtual HostCallAction write_kept(GuestBuffers&, HostCall&) { return HostCallAction::Continue; }

  virtual Errno seek(int64_t, Whence, uint64_t*) noexcept { return Errno::Spipe; }
  // What a guest is told that may not move in it.
  virtual Errno unseekable() const noexcept { return Errno::Notcapable; }
  virtual Errno allocate(uint64_t, uint64_t, HostCall&) { return Errno::Notsup; }
  virtual Errno set_size(uint64_t) { return Errno::Inval; }
  virtual Errno set_times(const Times&) noexcept { return Errno::Notsup; }
  virtual Errno sync(bool) noexcept { return Errno::Success; }  // true: only the data

  // Before a read, and before poll_oneoff waits for one.
  virtual void will_read() noexcept {}
  // For poll_oneoff. The host's descriptor to wait on; -1 if it is always ready.
  virtual int wait_fd() const noexcept { return -1; }
  virtual uint64_t readable_bytes() noexcept { return 0; }
  // There is an end, and it is reached. Not known of descriptors until they are read.
  virtual bool at_end() const noexcept { return false; }

  // Whether there is something in it that is lost with the program: of directories in memory.
  virtual bool holds_data() const noexcept { return false; }

  virtual class Directory* as_directory() noexcept { return nullptr; }
  virtual class Socket* as_socket() noexcept { return nullptr; }

 private:
  uint32_t flags_ = 0;
};

struct OpenRequest {
  bool follow = false;
  bool create = false;
  bool directory = false;
  bool exclusive = false;
  bool truncate = false;
  bool read = false;
  bool write = false;
  uint32_t flags = 0;  // $fdflags
};

// Takes the entries of a directory, as long as it has room.
class EntrySink {
 public:
  virtual ~EntrySink() = default;
  // `next` is the cookie of the entry that follows. False: no more.
  virtual bool take(uint64_t next, uint64_t inode, Filetype type, std::string_view name) noexcept = 0;
};

// Paths are relative, not empty, without NUL, shorter than kMaxPathBytes and UTF-8 (guest_path.h), and nothing else is known of
// them: `..`, symbolic links and what happens meanwhile must not lead outside. All functions may throw std::bad_alloc.
class Directory : public Descriptor {
 public:
  Filetype filetype() const noexcept override { return Filetype::Directory; }
  Transfer read(GuestBuffers&, HostCall&) override { return failed_with(Errno::Isdir); }
  Transfer write(GuestBuffers&, HostCall&) override { return failed_with(Errno::Isdir); }
  Transfer read_at(GuestBuffers&, uint64_t, HostCall&) override { return failed_with(Errno::Isdir); }
  Transfer write_at(GuestBuffers&, uint64_t, HostCall&) override { return failed_with(Errno::Isdir); }
  Errno set_size(uint64_t) override { return Errno::Isdir; }
  Errno seek(int64_t, Whence, uint64_t*) noexcept override { return Errno::Isdir; }
  Directory* as_directory() noexcept override { return this; }

  // Entries can be linked and renamed between directories of the same one; the directories are then of the same class.
  virtual const void* file_system() const noexcept = 0;

  virtual Errno open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) = 0;
  virtual Errno stat_path(const std::string& path, bool follow, Filestat* to) = 0;
  virtual Errno set_times_path(const std::string& path, bool follow, const Times& times) = 0;
  virtual Errno read_link(const std::string& path, std::string* target) = 0;
  virtual Errno create_directory(const std::string& path) = 0;
  virtual Errno create_symlink(const std::string& target, const std::string& path) = 0;
  virtual Errno link(const std::string& path, bool follow, Directory& to, const std::string& to_path) = 0;
  virtual Errno rename(const std::string& path, Directory& to, const std::string& to_path) = 0;
  virtual Errno unlink(const std::string& path) = 0;
  virtual Errno remove_directory(const std::string& path) = 0;
  // From the entry that `cookie` names (0: the first). HostCallAction::Interrupted if the call must end.
  virtual Transfer list(uint64_t cookie, EntrySink& sink, HostCall& call) = 0;
};

}  // namespace barecell::wasi
