#include "kvm_stats.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "owners.h"

namespace barecell {
namespace {

// struct kvm_stats_desc, which the name follows. The kernel's own declaration has another size in C++ than in C, because of its flexible array.
struct Description {
  uint32_t flags;
  int16_t exponent;
  uint16_t size;
  uint32_t offset;
  uint32_t bucket_size;
};
static_assert(sizeof(Description) == 16);

}  // namespace

// Documentation/virt/kvm/api.rst, 4.133: a header that says where the descriptions and the values are.
std::vector<KvmStatistic> read_kvm_stats(int fd) {
#ifdef KVM_GET_STATS_FD
  constexpr size_t kMost = 1 << 20;
  UniqueFd stats(ioctl(fd, KVM_GET_STATS_FD, nullptr));
  kvm_stats_header header{};
  if (!stats || pread(stats.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return {};
  const size_t entry_bytes = sizeof(Description) + header.name_size;
  std::vector<uint8_t> entries(entry_bytes * header.num_desc);
  if (entries.size() > kMost || pread(stats.get(), entries.data(), entries.size(), header.desc_offset) != static_cast<ssize_t>(entries.size())) return {};
  std::vector<KvmStatistic> result;
  for (size_t i = 0; i < header.num_desc; i++) {
    Description entry{};
    std::memcpy(&entry, &entries[i * entry_bytes], sizeof entry);
    // Histograms have more than one.
    if (entry.size != 1) continue;
    uint64_t value = 0;
    if (pread(stats.get(), &value, sizeof value, static_cast<off_t>(header.data_offset) + entry.offset) != static_cast<ssize_t>(sizeof value)) continue;
    const char* name = reinterpret_cast<const char*>(&entries[i * entry_bytes + sizeof entry]);
    result.push_back({std::string(name, strnlen(name, header.name_size)), value});
  }
  return result;
#else
  (void)fd;
  return {};
#endif
}

}  // namespace barecell
