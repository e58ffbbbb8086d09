#include "guest_path.h"

namespace barecell::wasi {

// The Unicode standard, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) noexcept {
  size_t i = 0;
  while (i < text.size()) {
    auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
    auto between = [&](size_t at, uint8_t low, uint8_t high) { return byte(at) >= low && byte(at) <= high; };
    auto continued = [&](size_t at) { return between(at, 0x80, 0xbf); };
    uint8_t first = byte(i);
    if (first < 0x80) {
      i += 1;
    } else if (first >= 0xc2 && first <= 0xdf && continued(i + 1)) {
      i += 2;
    } else if (first >= 0xe0 && first <= 0xef && between(i + 1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) &&
               continued(i + 2)) {
      i += 3;
    } else if (first >= 0xf0 && first <= 0xf4 && between(i + 1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf) &&
               continued(i + 2) && continued(i + 3)) {
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

Errno read_path(LinearMemory& memory, uint32_t at, uint32_t bytes, std::string* to) {
  if (!memory.contains(at, bytes)) return Errno::Fault;
  if (bytes >= kMaxPathBytes) return Errno::Nametoolong;
  to->resize(bytes);
  if (!memory.read(at, to->data(), bytes)) return Errno::Fault;
  if (to->empty()) return Errno::Noent;
  if (!is_utf8(*to)) return Errno::Ilseq;
  if (to->find('\0') != std::string::npos) return Errno::Inval;
  return Errno::Success;
}

SplitPath split_path(const std::string& path) {
  SplitPath result;
  size_t end = path.find_last_not_of('/');
  // Slashes alone: the root, which is outside. The resolution of the parent says so.
  if (end == std::string::npos) {
    result.parent.push_back('/');
    result.is_dot = true;
    return result;
  }
  size_t slash = path.find_last_of('/', end);
  size_t start = slash == std::string::npos ? 0 : slash + 1;
  if (start == 0) {
    result.parent.push_back('.');
  } else {
    result.parent.assign(path, 0, start);
  }
  result.last.assign(path, start, end + 1 - start);
  result.is_dot = result.last == ".";
  result.is_dot_dot = result.last == "..";
  if (end + 1 < path.size()) result.last.push_back('/');
  return result;
}

}  // namespace barecell::wasi
