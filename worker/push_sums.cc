#include "worker/push_sums.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <type_traits>
#include <utility>

#include "common/status.h"

namespace headlong {
namespace {

using cuda::CheckCuda;

// Where a rank's slots are: what the others need to reach them.
struct SlotsAddress {
  char machine[64] = {};  // this boot of it
  int64_t pid = 0;
  int gpu = 0;
  float* memory = nullptr;  // within the process
  cudaIpcMemHandle_t handle = {};
};
static_assert(std::is_trivially_copyable_v<SlotsAddress>);

void NameThisMachine(SlotsAddress& address) {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::strncpy(address.machine, boot.c_str(), sizeof address.machine - 1);
}

absl::Status Refuse(const char* what, cudaError_t error) {
  cudaGetLastError();  // it is told here, and by no later call
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

// Puts this rank's word and gets all. Words begin with '+', or with '-' and why not.
absl::StatusOr<std::vector<std::string>> Exchange(const std::string& topic, const std::string& word,
                                                  const PushOptions& options,
                                                  Rendezvous& rendezvous) {
  RETURN_IF_ERROR(rendezvous.Put(absl::StrCat("push/", topic, "/", options.rank), word));
  std::vector<std::string> words;
  std::string refusal;
  for (int rank = 0; rank < options.world; ++rank) {
    const absl::StatusOr<std::string> other =
        rendezvous.Get(absl::StrCat("push/", topic, "/", rank), options.connect_timeout);
    RETURN_IF_ERROR(other.status());
    words.push_back(other->empty() ? "" : other->substr(1));
    if (other->starts_with('+') || !refusal.empty()) continue;
    refusal = absl::StrCat("the worker of rank ", rank, ": ", words.back());
  }
  if (!refusal.empty()) return absl::FailedPreconditionError(refusal);
  return words;
}

std::string Word(const absl::Status& status, const std::string& text) {
  return status.ok() ? "+" + text : absl::StrCat("-", status.message());
}

}  // namespace

PushSums::PushSums(const PushOptions& options) : options_(options), turns_(1), abandoned_(1) {
  turns_.FillBytes(0);
  *abandoned_.get() = 0;
  sum_.rank = options.rank;
  sum_.world = options.world;
  sum_.turns = turns_.get();
  sum_.abandoned = abandoned_.get();
}

PushSums::~PushSums() {
  Abandon();
  cudaStreamSynchronize(options_.stream);
  for (void* memory : opened_) cudaIpcCloseMemHandle(memory);
}

absl::Status PushSums::TakeSlots() {
  if (!options_.wanted) return absl::FailedPreconditionError("it is told to use NCCL");
  if (options_.world > cuda::kMaxPushRanks) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.world, " workers, at most ", cuda::kMaxPushRanks, " can"));
  }
  const int64_t floats = cuda::PushFloats(options_.world);
  if (!cuda::DeviceArray<float>::Take(floats, slots_)) {
    return absl::FailedPreconditionError(absl::StrCat("no memory for ", floats, " numbers"));
  }
  CheckCuda(cuda::LaunchEmptySlots(slots_.get(), floats, options_.stream), "emptying slots");
  CheckCuda(cudaStreamSynchronize(options_.stream), "emptying slots");
  return absl::OkStatus();
}

absl::Status PushSums::Open(int rank, const std::string& text) {
  SlotsAddress own, other;
  if (text.size() != sizeof other) return absl::FailedPreconditionError("a broken address");
  std::memcpy(&other, text.data(), sizeof other);
  NameThisMachine(own);
  if (std::strcmp(own.machine, other.machine) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("rank ", rank, " is on another machine"));
  }
  if (other.pid == getpid()) {
    if (rank != options_.rank) {
      const cudaError_t error = cudaDeviceEnablePeerAccess(other.gpu, 0);
      if (error != cudaSuccess && error != cudaErrorPeerAccessAlreadyEnabled) {
        return Refuse("reaching another GPU's memory", error);
      }
      cudaGetLastError();
    }
    sum_.slots[rank] = other.memory;
    return absl::OkStatus();
  }
  void* memory = nullptr;
  const cudaError_t error =
      cudaIpcOpenMemHandle(&memory, other.handle, cudaIpcMemLazyEnablePeerAccess);
  if (error != cudaSuccess) return Refuse("opening another GPU's memory", error);
  opened_.push_back(memory);
  sum_.slots[rank] = static_cast<float*>(memory);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PushSums>> PushSums::Connect(const PushOptions& options,
                                                            Rendezvous& rendezvous) {
  std::unique_ptr<PushSums> sums(new PushSums(options));
  SlotsAddress address;
  absl::Status taken = sums->TakeSlots();
  if (taken.ok()) {
    NameThisMachine(address);
    address.pid = getpid();
    CheckCuda(cudaGetDevice(&address.gpu), "asking for the GPU");
    address.memory = sums->slots_.get();
    const cudaError_t error = cudaIpcGetMemHandle(&address.handle, address.memory);
    if (error != cudaSuccess) taken = Refuse("letting others open memory", error);
  }
  const std::string text(reinterpret_cast<const char*>(&address), sizeof address);
  ASSIGN_OR_RETURN(const std::vector<std::string> addresses,
                   Exchange("slots", Word(taken, text), options, rendezvous));
  absl::Status opened;
  for (int rank = 0; rank < options.world && opened.ok(); ++rank) {
    opened = sums->Open(rank, addresses[rank]);
  }
  RETURN_IF_ERROR(Exchange("opened", Word(opened, ""), options, rendezvous).status());
  return sums;
}

void PushSums::Sum(float* x, int64_t count) {
  cuda::PushSum sum = sum_;
  sum.x = x;
  sum.count = count;
  cuda::RunPushSum(sum, options_.stream);
}

void PushSums::Abandon() { *static_cast<volatile int*>(abandoned_.get()) = 1; }

}  // namespace headlong
