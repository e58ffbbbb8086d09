// What KVM itself counted for a VM and its vCPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace barecell {

struct KvmStatistic {
  std::string name;
  uint64_t value = 0;
};

// Of a VM's or a vCPU's descriptor: all statistics that are one number. Empty where KVM has none (KVM_CAP_BINARY_STATS_FD, Linux 5.14).
std::vector<KvmStatistic> read_kvm_stats(int fd);

}  // namespace barecell
