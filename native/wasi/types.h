// Types of WASI preview 1 as they lie in guest memory. The specification is WebAssembly/WASI legacy/preview1/witx/typenames.witx;
// headings here are its type names. `wasi_unstable` (legacy/preview0) is the same except where a comment says so.
#pragma once

#include <cstddef>
#include <cstdint>

namespace barecell::wasi {

// The two modules that programs import from.
enum class Dialect { Preview1, Unstable };

// $errno (u16). All of them, in the order of the specification, so that the values follow from the position.
enum class Errno : uint16_t {
  Success, TooBig, Acces, Addrinuse, Addrnotavail, Afnosupport, Again, Already, Badf, Badmsg, Busy, Canceled, Child,
  Connaborted, Connrefused, Connreset, Deadlk, Destaddrreq, Dom, Dquot, Exist, Fault, Fbig, Hostunreach, Idrm, Ilseq,
  Inprogress, Intr, Inval, Io, Isconn, Isdir, Loop, Mfile, Mlink, Msgsize, Multihop, Nametoolong, Netdown, Netreset, Netunreach,
  Nfile, Nobufs, Nodev, Noent, Noexec, Nolck, Nolink, Nomem, Nomsg, Noprotoopt, Nospc, Nosys, Notconn, Notdir, Notempty,
  Notrecoverable, Notsock, Notsup, Notty, Nxio, Overflow, Ownerdead, Perm, Pipe, Proto, Protonosupport, Prototype, Range, Rofs,
  Spipe, Srch, Stale, Timedout, Txtbsy, Xdev, Notcapable,
};
constexpr int value_of(Errno error) { return static_cast<int>(error); }
static_assert(value_of(Errno::Badf) == 8 && value_of(Errno::Fault) == 21 && value_of(Errno::Inval) == 28);
static_assert(value_of(Errno::Nosys) == 52 && value_of(Errno::Pipe) == 64 && value_of(Errno::Notcapable) == 76);

// $rights (u64). The bit is the position in the specification's list.
using Rights = uint64_t;
constexpr Rights kRightFdDatasync = 1u << 0;
constexpr Rights kRightFdRead = 1u << 1;
constexpr Rights kRightFdSeek = 1u << 2;
constexpr Rights kRightFdFdstatSetFlags = 1u << 3;
constexpr Rights kRightFdSync = 1u << 4;
constexpr Rights kRightFdTell = 1u << 5;
constexpr Rights kRightFdWrite = 1u << 6;
constexpr Rights kRightFdAdvise = 1u << 7;
constexpr Rights kRightFdAllocate = 1u << 8;
constexpr Rights kRightPathCreateDirectory = 1u << 9;
constexpr Rights kRightPathCreateFile = 1u << 10;
constexpr Rights kRightPathLinkSource = 1u << 11;
constexpr Rights kRightPathLinkTarget = 1u << 12;
constexpr Rights kRightPathOpen = 1u << 13;
constexpr Rights kRightFdReaddir = 1u << 14;
constexpr Rights kRightPathReadlink = 1u << 15;
constexpr Rights kRightPathRenameSource = 1u << 16;
constexpr Rights kRightPathRenameTarget = 1u << 17;
constexpr Rights kRightPathFilestatGet = 1u << 18;
constexpr Rights kRightPathFilestatSetSize = 1u << 19;
constexpr Rights kRightPathFilestatSetTimes = 1u << 20;
constexpr Rights kRightFdFilestatGet = 1u << 21;
constexpr Rights kRightFdFilestatSetSize = 1u << 22;
constexpr Rights kRightFdFilestatSetTimes = 1u << 23;
constexpr Rights kRightPathSymlink = 1u << 24;
constexpr Rights kRightPathRemoveDirectory = 1u << 25;
constexpr Rights kRightPathUnlinkFile = 1u << 26;
constexpr Rights kRightPollFdReadwrite = 1u << 27;
constexpr Rights kRightSockShutdown = 1u << 28;
constexpr Rights kRightSockAccept = 1u << 29;

// $clockid (u32)
enum class ClockId : uint32_t { Realtime, Monotonic, ProcessCputime, ThreadCputime };
constexpr uint32_t kClockIds = 4;

// $whence (u8) has three values. `wasi_unstable` orders them cur, end, set, preview 1 set, cur, end.
constexpr uint32_t kWhenceValues = 3;

// $filetype (u8). It has no named pipe: those are unknown.
enum class Filetype : uint8_t { Unknown, BlockDevice, CharacterDevice, Directory, RegularFile, SocketDgram, SocketStream, SymbolicLink };

// $fdflags (u16)
constexpr uint32_t kFdflagAppend = 1u << 0;
constexpr uint32_t kFdflagDsync = 1u << 1;
constexpr uint32_t kFdflagNonblock = 1u << 2;
constexpr uint32_t kFdflagRsync = 1u << 3;
constexpr uint32_t kFdflagSync = 1u << 4;
constexpr uint32_t kFdflagsAll = (1u << 5) - 1;

// $lookupflags (u32)
constexpr uint32_t kLookupflagSymlinkFollow = 1u << 0;
constexpr uint32_t kLookupflagsAll = 1;

// $oflags (u16)
constexpr uint32_t kOflagCreat = 1u << 0;
constexpr uint32_t kOflagDirectory = 1u << 1;
constexpr uint32_t kOflagExcl = 1u << 2;
constexpr uint32_t kOflagTrunc = 1u << 3;
constexpr uint32_t kOflagsAll = (1u << 4) - 1;

// $fstflags (u16)
constexpr uint32_t kFstflagAtim = 1u << 0;
constexpr uint32_t kFstflagAtimNow = 1u << 1;
constexpr uint32_t kFstflagMtim = 1u << 2;
constexpr uint32_t kFstflagMtimNow = 1u << 3;
constexpr uint32_t kFstflagsAll = (1u << 4) - 1;

// $advice (u8) has six values, the first being `normal`.
constexpr uint32_t kAdviceValues = 6;

// $signal (u8), from `none` to `sys`.
constexpr uint32_t kSignalValues = 31;

// $riflags, $roflags (u16), $sdflags (u8); $siflags has none.
constexpr uint32_t kRiflagPeek = 1u << 0;
constexpr uint32_t kRiflagWaitall = 1u << 1;
constexpr uint32_t kRiflagsAll = (1u << 2) - 1;
constexpr uint16_t kRoflagDataTruncated = 1u << 0;
constexpr uint32_t kSdflagRd = 1u << 0;
constexpr uint32_t kSdflagWr = 1u << 1;
constexpr uint32_t kSdflagsAll = (1u << 2) - 1;

// Structures have their padding as members, so that a `{}` leaves no byte of the host's stack in what a guest reads.

// $iovec, $ciovec
struct Iovec {
  uint32_t buf;
  uint32_t buf_len;
};
static_assert(sizeof(Iovec) == 8);

// $fdstat
struct Fdstat {
  uint8_t fs_filetype;
  uint8_t padding0;
  uint16_t fs_flags;
  uint32_t padding1;
  uint64_t fs_rights_base;
  uint64_t fs_rights_inheriting;
};
static_assert(sizeof(Fdstat) == 24 && offsetof(Fdstat, fs_flags) == 2 && offsetof(Fdstat, fs_rights_base) == 8);

// $filestat
struct Filestat {
  uint64_t dev;
  uint64_t ino;
  uint8_t filetype;
  uint8_t padding[7];
  uint64_t nlink;
  uint64_t size;
  uint64_t atim;
  uint64_t mtim;
  uint64_t ctim;
};
static_assert(sizeof(Filestat) == 64 && offsetof(Filestat, nlink) == 24 && offsetof(Filestat, size) == 32);

// $filestat of `wasi_unstable`: $linkcount is u32 there, which moves all that follows.
struct FilestatUnstable {
  uint64_t dev;
  uint64_t ino;
  uint8_t filetype;
  uint8_t padding[3];
  uint32_t nlink;
  uint64_t size;
  uint64_t atim;
  uint64_t mtim;
  uint64_t ctim;
};
static_assert(sizeof(FilestatUnstable) == 56);
static_assert(offsetof(FilestatUnstable, nlink) == 20 && offsetof(FilestatUnstable, size) == 24);

// $dirent, which the name follows
struct Dirent {
  uint64_t d_next;
  uint64_t d_ino;
  uint32_t d_namlen;
  uint8_t d_type;
  uint8_t padding[3];
};
static_assert(sizeof(Dirent) == 24 && offsetof(Dirent, d_namlen) == 16 && offsetof(Dirent, d_type) == 20);

// $prestat of a directory
struct Prestat {
  uint8_t tag;  // $preopentype: 0 is `dir`, the only one
  uint8_t padding[3];
  uint32_t pr_name_len;
};
static_assert(sizeof(Prestat) == 8 && offsetof(Prestat, pr_name_len) == 4);

// $eventtype (u8)
constexpr uint8_t kEventtypeClock = 0;
constexpr uint8_t kEventtypeFdRead = 1;
constexpr uint8_t kEventtypeFdWrite = 2;

// $subclockflags (u16)
constexpr uint16_t kSubclockflagAbstime = 1u << 0;

// $eventrwflags (u16)
constexpr uint16_t kEventrwflagHangup = 1u << 0;

// $subscription_clock
struct SubscriptionClock {
  uint32_t id;
  uint32_t padding0;
  uint64_t timeout;
  uint64_t precision;
  uint16_t flags;
  uint16_t padding1[3];
};
static_assert(sizeof(SubscriptionClock) == 32);
static_assert(offsetof(SubscriptionClock, timeout) == 8 && offsetof(SubscriptionClock, flags) == 24);

// $subscription: userdata, tag, and the union of $subscription_clock and $subscription_fd_readwrite (an fd, u32, at its start).
// In `wasi_unstable` $subscription_clock begins with a u64 `identifier`, which nothing uses; the fd is still at the start of the
// union.
constexpr uint64_t kSubscriptionTag = 8;
constexpr uint64_t kSubscriptionUnion = 16;
constexpr uint64_t kSubscriptionBytes = kSubscriptionUnion + sizeof(SubscriptionClock);
constexpr uint64_t kSubscriptionIdentifierBytes = 8;
static_assert(kSubscriptionBytes == 48);

// $event
struct Event {
  uint64_t userdata;
  uint16_t error;
  uint8_t type;
  uint8_t padding0[5];
  uint64_t nbytes;  // $event_fd_readwrite
  uint16_t flags;
  uint16_t padding1[3];
};
static_assert(sizeof(Event) == 32);
static_assert(offsetof(Event, type) == 10 && offsetof(Event, nbytes) == 16 && offsetof(Event, flags) == 24);

}  // namespace barecell::wasi
