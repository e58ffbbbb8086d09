// Threads that run vCPUs for asynchronous calls. The addon's own, so that a guest which computes for seconds never holds one of libuv's.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace barecell {

class VcpuThreads {
 public:
  VcpuThreads() = default;
  ~VcpuThreads();
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  // Runs the job on an idle thread, or on a new one. Jobs never wait for each other: each runs a guest that may take its whole timeout.
  // Throws BARECELL_HOST_LIMIT if no thread can be made.
  void run(std::function<void()> job);

 private:
  struct Worker {
    std::thread thread;
    std::function<void()> job;
    std::condition_variable wake;
  };
  void work(Worker* worker);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;  // the last one used is the first one taken: its stack and caches are warm
  bool closing_ = false;
};

}  // namespace barecell
