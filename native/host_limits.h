// Limits of the operating system that a process which holds many VMs comes to.
#pragma once

#include <string>

namespace barecell {

// Which limit is behind a failed system call: its name, its value and what raises it. Empty if the error is no sign of one.
std::string limit_behind(int error);

}  // namespace barecell
