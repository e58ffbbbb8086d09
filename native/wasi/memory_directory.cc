#include <algorithm>
#include <vector>

#include "guest_path.h"
#include "host_io.h"
#include "memory_file.h"
#include "rights.h"

namespace barecell::wasi {
namespace {

constexpr int kMaxMemoryLinks = 40;

// Where a path leads. `node` is null if the last component does not exist; `parent` is null if the path ends in a dot, which names
// no entry.
struct Found {
  std::shared_ptr<DirectoryNode> parent;
  std::string name;
  std::shared_ptr<MemoryNode> node;
  bool slash = false;
  bool dot_dot = false;

  std::shared_ptr<DirectoryNode> directory() const {
    return node && node->type() == Filetype::Directory ? std::static_pointer_cast<DirectoryNode>(node) : nullptr;
  }
};

// `..` goes back on the way that led here, so it cannot lead above the start, wherever that lies now.
Errno resolve(const std::shared_ptr<DirectoryNode>& start, const std::string& path, bool follow, Found* to) {
  std::vector<std::shared_ptr<DirectoryNode>> way{start};
  std::string rest = path;
  int links = 0;
  *to = {};
  for (;;) {
    if (rest.starts_with('/')) return Errno::Notcapable;
    size_t end = rest.find('/');
    std::string name = rest.substr(0, end);
    size_t next = end == std::string::npos ? end : rest.find_first_not_of('/', end);
    bool last = next == std::string::npos;
    bool slash = last && end != std::string::npos;
    std::string after = last ? "" : rest.substr(next);
    if (name == "." || name == "..") {
      if (name == "..") {
        if (way.size() == 1) return Errno::Notcapable;
        way.pop_back();
      }
      if (last) {
        to->dot_dot = name == "..";
        to->node = way.back();
        return Errno::Success;
      }
      rest = std::move(after);
      continue;
    }
    if (name.size() > 255) return Errno::Nametoolong;
    std::shared_ptr<MemoryNode> node = way.back()->find(name);
    if (node && node->type() == Filetype::SymbolicLink && (!last || slash || follow)) {
      if (++links > kMaxMemoryLinks) return Errno::Loop;
      std::string target = static_cast<LinkNode&>(*node).target;
      if (slash) target += '/';
      rest = last ? std::move(target) : target + "/" + after;
      if (rest.size() >= size_t{2} * kMaxPathBytes) return Errno::Nametoolong;
      continue;
    }
    if (last) {
      *to = {way.back(), std::move(name), std::move(node), slash, false};
      return slash && to->node && to->node->type() != Filetype::Directory ? Errno::Notdir : Errno::Success;
    }
    if (!node) return Errno::Noent;
    if (node->type() != Filetype::Directory) return Errno::Notdir;
    way.push_back(std::static_pointer_cast<DirectoryNode>(node));
    rest = std::move(after);
  }
}

// For functions that work on something that is there.
Errno resolve_existing(const std::shared_ptr<DirectoryNode>& start, const std::string& path, bool follow, Found* to) {
  Errno error = resolve(start, path, follow, to);
  return error == Errno::Success && !to->node ? Errno::Noent : error;
}

// For those that work on the entry itself, which is not followed, not even with a slash after it.
Errno resolve_entry(const std::shared_ptr<DirectoryNode>& start, const std::string& path, Found* to) {
  size_t end = path.find_last_not_of('/');
  bool slash = end != std::string::npos && end + 1 < path.size();
  Errno error = resolve(start, slash ? path.substr(0, end + 1) : path, false, to);
  to->slash = slash;
  return error;
}

// For those that make an entry, whose name must not be taken.
Errno resolve_free(const std::shared_ptr<DirectoryNode>& start, const std::string& path, bool directory, Found* to) {
  Errno error = resolve_entry(start, path, to);
  if (error != Errno::Success) return error;
  if (to->node) return Errno::Exist;
  return to->slash && !directory ? Errno::Noent : Errno::Success;
}

// For those that take an entry away.
Errno resolve_taken(const std::shared_ptr<DirectoryNode>& start, const std::string& path, Found* to) {
  Errno error = resolve_entry(start, path, to);
  if (error != Errno::Success) return error;
  if (!to->node) return Errno::Noent;
  return to->slash && !to->directory() ? Errno::Notdir : Errno::Success;
}

}  // namespace

std::shared_ptr<MemoryDirectory> MemoryDirectory::make(std::shared_ptr<MemoryFileSystem> file_system) {
  auto root = std::make_shared<DirectoryNode>(std::move(file_system), 0);
  root->names = 1;
  return std::make_shared<MemoryDirectory>(std::move(root));
}

Rights MemoryDirectory::base_rights() const noexcept { return kDirectoryRights; }
Rights MemoryDirectory::inheriting_rights() const noexcept { return kInheritedRights; }

Errno MemoryDirectory::stat(Filestat* to) noexcept {
  *to = node_->stat();
  return Errno::Success;
}

Errno MemoryDirectory::set_times(const Times& times) noexcept {
  set_node_times(*node_, times);
  return Errno::Success;
}

Errno MemoryDirectory::open(const std::string& path, const OpenRequest& request, std::shared_ptr<Descriptor>* to) {
  Found found;
  // With O_EXCL a link that is there is something that is there.
  bool follow = request.follow && !(request.create && request.exclusive);
  if (Errno error = resolve(node_, path, follow, &found); error != Errno::Success) return error;
  if (!found.node) {
    if (!request.create) return Errno::Noent;
    if (found.slash) return Errno::Isdir;
    auto node = make_node<FileNode>(node_->file_system);
    if (!node) return Errno::Nospc;
    if (Errno error = found.parent->add(found.name, node); error != Errno::Success) return error;
    found.node = std::move(node);
  } else if (request.create && request.exclusive) {
    return Errno::Exist;
  }
  if (found.node->type() == Filetype::SymbolicLink) return request.directory ? Errno::Notdir : Errno::Loop;
  if (auto directory = found.directory()) {
    if (request.create || request.truncate || request.write) return Errno::Isdir;
    *to = std::make_shared<MemoryDirectory>(std::move(directory));
    return Errno::Success;
  }
  if (request.directory) return Errno::Notdir;
  auto node = std::static_pointer_cast<FileNode>(found.node);
  if (request.truncate && node->bytes > 0) node->resize(0);
  auto file = std::make_shared<MemoryFile>(std::move(node));
  file->set_flags(request.flags);
  *to = std::move(file);
  return Errno::Success;
}

Errno MemoryDirectory::stat_path(const std::string& path, bool follow, Filestat* to) {
  Found found;
  Errno error = resolve_existing(node_, path, follow, &found);
  if (error == Errno::Success) *to = found.node->stat();
  return error;
}

Errno MemoryDirectory::set_times_path(const std::string& path, bool follow, const Times& times) {
  Found found;
  Errno error = resolve_existing(node_, path, follow, &found);
  if (error == Errno::Success) set_node_times(*found.node, times);
  return error;
}

Errno MemoryDirectory::read_link(const std::string& path, std::string* target) {
  Found found;
  if (Errno error = resolve_existing(node_, path, false, &found); error != Errno::Success) return error;
  if (found.node->type() != Filetype::SymbolicLink) return Errno::Inval;
  *target = static_cast<LinkNode&>(*found.node).target;
  return Errno::Success;
}

Errno MemoryDirectory::create_directory(const std::string& path) {
  Found found;
  if (Errno error = resolve_free(node_, path, true, &found); error != Errno::Success) return error;
  if (found.parent->depth() >= node_->file_system->max_depth) return Errno::Nametoolong;
  auto node = make_node<DirectoryNode>(node_->file_system);
  if (!node) return Errno::Nospc;
  node->parent = found.parent;
  return found.parent->add(found.name, std::move(node));
}

Errno MemoryDirectory::create_symlink(const std::string& target, const std::string& path) {
  if (target.starts_with('/')) return Errno::Notcapable;
  Found found;
  if (Errno error = resolve_free(node_, path, false, &found); error != Errno::Success) return error;
  auto node = make_node<LinkNode>(node_->file_system, target.size());
  if (!node) return Errno::Nospc;
  node->target = target;
  return found.parent->add(found.name, std::move(node));
}

Errno MemoryDirectory::link(const std::string& path, bool follow, Directory& to, const std::string& to_path) {
  Found from, target;
  if (Errno error = resolve_existing(node_, path, follow, &from); error != Errno::Success) return error;
  if (from.directory()) return Errno::Perm;
  Errno error = resolve_free(static_cast<MemoryDirectory&>(to).node_, to_path, false, &target);
  if (error != Errno::Success) return error;
  return target.parent->add(target.name, from.node);
}

Errno MemoryDirectory::rename(const std::string& path, Directory& to, const std::string& to_path) {
  Found from, target;
  if (Errno error = resolve_taken(node_, path, &from); error != Errno::Success) return error;
  Errno error = resolve_entry(static_cast<MemoryDirectory&>(to).node_, to_path, &target);
  if (error != Errno::Success) return error;
  if (!from.parent || !target.parent) return Errno::Busy;
  auto directory = from.directory();
  if (target.slash && !directory) return Errno::Notdir;
  // Two names of one file: nothing to do, says POSIX.
  if (from.node == target.node) return Errno::Success;
  if (directory) {
    if (target.parent->is_in(*directory)) return Errno::Inval;
    unsigned depth = target.parent->depth() + 1;
    if (depth > directory->depth() && depth + directory->height() > node_->file_system->max_depth) return Errno::Nametoolong;
  }
  if (target.node) {
    auto other = target.directory();
    if (directory && !other) return Errno::Notdir;
    if (!directory && other) return Errno::Isdir;
    if (other && !other->children.empty()) return Errno::Notempty;
    if (other) other->removed = true;
    target.parent->remove(target.name);
  }
  // The new name is paid for before the old one is given back; if it cannot be, the entry stays where it was.
  if (error = target.parent->add(target.name, from.node); error != Errno::Success) return error;
  from.parent->remove(from.name);
  if (directory) directory->parent = target.parent;
  return Errno::Success;
}

Errno MemoryDirectory::unlink(const std::string& path) {
  Found found;
  if (Errno error = resolve_taken(node_, path, &found); error != Errno::Success) return error;
  if (found.directory()) return Errno::Isdir;
  found.parent->remove(found.name);
  return Errno::Success;
}

Errno MemoryDirectory::remove_directory(const std::string& path) {
  Found found;
  if (Errno error = resolve_taken(node_, path, &found); error != Errno::Success) return error;
  auto directory = found.directory();
  if (!directory) return Errno::Notdir;
  if (!found.parent) return found.dot_dot ? Errno::Notempty : Errno::Inval;
  if (!directory->children.empty()) return Errno::Notempty;
  directory->removed = true;
  found.parent->remove(found.name);
  return Errno::Success;
}

Transfer MemoryDirectory::list(uint64_t cookie, EntrySink& sink, HostCall& call) {
  if (cookie == 0 && !sink.take(1, node_->inode, Filetype::Directory, ".")) return {};
  if (cookie <= 1 && !sink.take(2, 0, Filetype::Directory, "..")) return {};
  unsigned count = 0;
  for (auto at = node_->by_number.lower_bound(std::max<uint64_t>(cookie, 2)); at != node_->by_number.end(); ++at) {
    if (++count % 1024 == 0 && wait_ready(call, -1, 0, false) == Gate::Stop) return {HostCallAction::Interrupted};
    const MemoryNode& node = *node_->children.at(*at->second).node;
    if (!sink.take(at->first + 1, node.inode, node.type(), *at->second)) break;
  }
  return {};
}

}  // namespace barecell::wasi
