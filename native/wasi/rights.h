// Which rights apply to what, as the specification describes each of them. A directory that the host hands in has all of them, also
// if it may only be read: rights say what a descriptor is for, and that a file system cannot be written is its own answer (EROFS),
// as programs know it. Rust's standard library asks for most rights whenever it opens a file, only to read it too.
#pragma once

#include "types.h"

namespace barecell::wasi {

constexpr Rights kFileRights = kRightFdDatasync | kRightFdRead | kRightFdSeek | kRightFdFdstatSetFlags | kRightFdSync | kRightFdTell |
                               kRightFdWrite | kRightFdAdvise | kRightFdAllocate | kRightFdFilestatGet | kRightFdFilestatSetSize |
                               kRightFdFilestatSetTimes | kRightPollFdReadwrite;

constexpr Rights kDirectoryRights = kRightFdFdstatSetFlags | kRightFdSync | kRightPathCreateDirectory | kRightPathCreateFile |
                                    kRightPathLinkSource | kRightPathLinkTarget | kRightPathOpen | kRightFdReaddir | kRightPathReadlink |
                                    kRightPathRenameSource | kRightPathRenameTarget | kRightPathFilestatGet | kRightPathFilestatSetSize |
                                    kRightPathFilestatSetTimes | kRightFdFilestatGet | kRightFdFilestatSetTimes | kRightPathSymlink |
                                    kRightPathRemoveDirectory | kRightPathUnlinkFile | kRightPollFdReadwrite;

// What can be opened below a directory.
constexpr Rights kInheritedRights = kDirectoryRights | kFileRights;

constexpr Rights kConnectionRights =
    kRightFdRead | kRightFdWrite | kRightFdFdstatSetFlags | kRightFdFilestatGet | kRightPollFdReadwrite | kRightSockShutdown;
constexpr Rights kListenerRights =
    kRightFdRead | kRightFdFdstatSetFlags | kRightFdFilestatGet | kRightPollFdReadwrite | kRightSockAccept;

}  // namespace barecell::wasi
