// Sums between two GPUs of this process, each used by a thread of its own.
#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "common/status.h"
#include "worker/backend_cuda.h"
#include "worker/collective_nccl.h"
#include "worker/gpu.h"
#include "worker/kernel_cases_cuda.h"

namespace headlong::cuda {
namespace {

constexpr int kRanks = 2;
constexpr int kSums = 64;  // in a graph, each of the one before
constexpr int64_t kSizes[] = {8 << 10, 64 << 10, 256 << 10, 1 << 20};

class ThreadRendezvous final : public Rendezvous {
 public:
  absl::Status Put(const std::string& key, const std::string& value) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    values_[key] = value;
    changed_.notify_all();
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const std::string& key,
                                  std::chrono::milliseconds timeout) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (changed_.wait_for(lock, timeout, [&] { return values_.contains(key); })) {
      return values_[key];
    }
    return absl::DeadlineExceededError(key);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

// Seconds of one sum, by size.
using Times = std::vector<double>;

absl::StatusOr<Times> TimeSums(int rank, const Gpu& gpu, Sums sums, Rendezvous& rendezvous) {
  ASSIGN_OR_RETURN(const auto backend, MakeCudaBackend(Storage::kBfloat16, gpu.index, true));
  NcclOptions options;
  options.rank = rank;
  options.world = kRanks;
  options.sums = sums;
  ASSIGN_OR_RETURN(const auto collective, MakeNcclCollective(options, rendezvous, *backend));
  Times times;
  for (const int64_t bytes : kSizes) {
    const int64_t count = bytes / 4;
    ASSIGN_OR_RETURN(const Activations x, backend->NewActivations(1, static_cast<int>(count)));
    KernelCase one;
    one.calls = kSums;
    absl::Status status;
    one.run = [&](int) {
      if (status.ok()) status = collective->Sum(x, count);
    };
    times.push_back(GraphSeconds(one, backend->stream()));
    RETURN_IF_ERROR(status);
  }
  return times;
}

absl::StatusOr<Times> OnBoth(const std::vector<Gpu>& gpus, Sums sums) {
  ThreadRendezvous rendezvous;
  absl::StatusOr<Times> times[kRanks];
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { times[rank] = TimeSums(rank, gpus[rank], sums, rendezvous); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& of_rank : times) RETURN_IF_ERROR(of_rank.status());
  return times[0];
}

}  // namespace

absl::StatusOr<std::vector<KernelRate>> MeasureSums() {
  std::vector<KernelRate> rates;
  ASSIGN_OR_RETURN(const std::vector<Gpu> gpus, FindGpus());
  if (std::ssize(gpus) < kRanks || !CheckNccl().ok()) return rates;
  for (const Sums sums : {Sums::kNccl, Sums::kPush}) {
    const absl::StatusOr<Times> times = OnBoth(gpus, sums);
    if (absl::IsFailedPrecondition(times.status())) continue;  // no way to each other's memory
    RETURN_IF_ERROR(times.status());
    for (size_t i = 0; i < times->size(); ++i) {
      rates.push_back({sums == Sums::kPush ? "sum of 2 GPUs, own kernel" : "sum of 2 GPUs, NCCL",
                       absl::StrCat(kSizes[i] >> 10, " KiB of fp32"), 0, 0, (*times)[i]});
    }
  }
  return rates;
}

}  // namespace headlong::cuda
