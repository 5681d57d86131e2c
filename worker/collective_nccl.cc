#include "worker/collective_nccl.h"

#include <nccl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <utility>

#include "common/status.h"
#include "worker/kernels/cuda_handles.h"
#include "worker/kernels/cuda_library.h"
#include "worker/push_sums.h"

namespace headlong {
namespace {

using std::chrono::steady_clock;

constexpr char kFileName[] = "libnccl.so.2";
constexpr char kIdKey[] = "nccl/id";
constexpr std::chrono::milliseconds kSpinFor{1};  // a call is taken in microseconds as a rule
constexpr std::chrono::microseconds kPoll{50};

// The functions of NCCL in use.
struct Nccl {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
};

absl::StatusOr<Nccl> Open() {
  // Multicast can take the GPUs of a shared host out of service; read when the library starts.
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  ASSIGN_OR_RETURN(void* const library, cuda::OpenLibrary(kFileName));
  Nccl nccl;
  const auto bind = [library](const char* symbol, auto& function) {
    return cuda::BindFunction(library, kFileName, symbol, function);
  };
  RETURN_IF_ERROR(bind("ncclGetUniqueId", nccl.get_unique_id));
  RETURN_IF_ERROR(bind("ncclCommInitRankConfig", nccl.init));
  RETURN_IF_ERROR(bind("ncclCommGetAsyncError", nccl.async_error));
  RETURN_IF_ERROR(bind("ncclCommAbort", nccl.abort));
  RETURN_IF_ERROR(bind("ncclAllReduce", nccl.all_reduce));
  RETURN_IF_ERROR(bind("ncclSend", nccl.send));
  RETURN_IF_ERROR(bind("ncclRecv", nccl.receive));
  RETURN_IF_ERROR(bind("ncclGroupStart", nccl.group_start));
  RETURN_IF_ERROR(bind("ncclGroupEnd", nccl.group_end));
  RETURN_IF_ERROR(bind("ncclGetErrorString", nccl.error_string));
  return nccl;
}

const absl::StatusOr<Nccl>& Library() {
  static const absl::StatusOr<Nccl> nccl = Open();
  return nccl;
}

class NcclCollective final : public Collective {
 public:
  NcclCollective(const Nccl& nccl, const NcclOptions& options, Rendezvous& rendezvous,
                 Backend& backend)
      : nccl_(nccl), options_(options), rendezvous_(rendezvous), backend_(backend) {}
  ~NcclCollective() override { Abort(); }

  absl::Status Connect() {
    ncclUniqueId id;
    if (options_.rank == 0) {
      RETURN_IF_ERROR(Check(nccl_.get_unique_id(&id), "making an id"));
      RETURN_IF_ERROR(rendezvous_.Put(kIdKey, std::string(id.internal, sizeof id.internal)));
    } else {
      ASSIGN_OR_RETURN(const std::string text, rendezvous_.Get(kIdKey, options_.connect_timeout));
      if (text.size() != sizeof id.internal) return absl::InternalError("nccl: a broken id");
      std::copy(text.begin(), text.end(), id.internal);
    }
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    RETURN_IF_ERROR(Settle(nccl_.init(&comm_, options_.world, id, options_.rank, &config),
                           "connecting", options_.connect_timeout));
    return ConnectPush();
  }

  absl::Status Sum(Activations x, int64_t count) override {
    if (count == 0) return absl::OkStatus();
    if (push_ != nullptr && push_->Takes(count)) {
      push_->Sum(static_cast<float*>(x.data), count);
      return absl::OkStatus();
    }
    return Settle(
        nccl_.all_reduce(x.data, x.data, count, ncclFloat, ncclSum, comm_, backend_.stream()),
        "sum", options_.timeout);
  }

  absl::Status PrepareGather(int64_t most) override {
    if (options_.rank != 0) return absl::OkStatus();
    if (cuda::DeviceArray<float>::Take(most, parts_)) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory on the GPU for ", most, " logits of all workers"));
  }

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) override {
    const int64_t own = int64_t{rows} * columns[options_.rank];
    if (options_.rank != 0) {
      if (own == 0) return absl::OkStatus();
      return Settle(nccl_.send(x.data, own, ncclFloat, 0, comm_, backend_.stream()), "gather",
                    options_.timeout);
    }
    cuda::CheckCuda(cudaMemcpyAsync(parts_.get(), x.data, own * sizeof(float),
                                    cudaMemcpyDeviceToDevice, backend_.stream()),
                    "gather");
    RETURN_IF_ERROR(Check(nccl_.group_start(), "gather"));
    float* part = parts_.get() + own;
    for (int rank = 1; rank < options_.world; ++rank) {
      const int64_t count = int64_t{rows} * columns[rank];
      if (count == 0) continue;
      RETURN_IF_ERROR(
          Check(nccl_.receive(part, count, ncclFloat, rank, comm_, backend_.stream()), "gather"));
      part += count;
    }
    return Settle(nccl_.group_end(), "gather", options_.timeout);
  }

  absl::Status ReadGathered(Activations, int sent, int rows, const std::vector<int>& columns,
                            std::vector<float>& out) override {
    RETURN_IF_ERROR(WaitForStream("gather"));
    if (options_.rank != 0) return absl::OkStatus();
    host_.resize(int64_t{sent} * std::accumulate(columns.begin(), columns.end(), 0));
    backend_.ReadFloats({parts_.get(), 0}, std::ssize(host_), host_.data());
    PlaceParts(host_.data(), columns, sent, rows, out);
    return absl::OkStatus();
  }

  Activations Gathered(Activations) const override { return {parts_.get(), 0}; }

  absl::Status Wait() override { return WaitForStream("sum"); }

  bool recordable() const override { return true; }

 private:
  absl::Status ConnectPush() {
    PushOptions push;
    push.rank = options_.rank;
    push.world = options_.world;
    push.wanted = options_.sums != Sums::kNccl;
    push.connect_timeout = options_.connect_timeout;
    push.stream = backend_.stream();
    absl::StatusOr<std::unique_ptr<PushSums>> connected = PushSums::Connect(push, rendezvous_);
    if (connected.ok()) {
      push_ = *std::move(connected);
    } else if (!absl::IsFailedPrecondition(connected.status())) {
      return connected.status();
    } else if (options_.sums == Sums::kPush) {
      return Annotate(connected.status(), "--sums push");
    } else if (push.wanted) {
      spdlog::info("all sums go through NCCL: {}", connected.status().ToString());
    }
    return absl::OkStatus();
  }

  absl::Status Check(ncclResult_t result, const char* what) {
    if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
    return Fail(absl::StrCat(what, " between workers: ", nccl_.error_string(result)));
  }

  // A communicator that does not block says "in progress" until the call has been taken.
  absl::Status Settle(ncclResult_t result, const char* what, std::chrono::milliseconds timeout) {
    RETURN_IF_ERROR(Check(result, what));
    if (result == ncclSuccess) return absl::OkStatus();
    const auto begin = steady_clock::now();
    while (result == ncclInProgress) {
      RETURN_IF_ERROR(Check(nccl_.async_error(comm_, &result), what));
      RETURN_IF_ERROR(Check(result, what));
      if (result != ncclInProgress) break;
      RETURN_IF_ERROR(MayWait(what, begin + timeout));
      if (steady_clock::now() - begin > kSpinFor) std::this_thread::sleep_for(kPoll);
    }
    return absl::OkStatus();
  }

  absl::Status MayWait(const char* what, steady_clock::time_point deadline) {
    if (rendezvous_.Abandoned()) return Fail(absl::StrCat(what, ": a later epoch has begun"));
    if (steady_clock::now() < deadline) return absl::OkStatus();
    return Fail(absl::StrCat(what, " between workers: the time ran out"));
  }

  // The stream, while looking whether a peer vanished: a sum that nobody joins never ends.
  absl::Status WaitForStream(const char* what) {
    const auto deadline = steady_clock::now() + options_.timeout;
    for (cudaError_t state; (state = cudaStreamQuery(backend_.stream())) != cudaSuccess;) {
      if (state != cudaErrorNotReady) cuda::CheckCuda(state, what);
      ncclResult_t result = ncclSuccess;
      RETURN_IF_ERROR(Check(nccl_.async_error(comm_, &result), what));
      RETURN_IF_ERROR(Check(result, what));
      RETURN_IF_ERROR(MayWait(what, deadline));
      std::this_thread::yield();
    }
    return absl::OkStatus();
  }

  absl::Status Fail(const std::string& why) {
    Abort();
    return absl::UnavailableError(why);
  }

  // Unlike a destroy this waits for no peer. An abort would wait for graphs that hold the
  // communicator.
  void Abort() {
    if (comm_ == nullptr) return;
    if (push_ != nullptr) push_->Abandon();
    backend_.DropGraphs();
    nccl_.abort(comm_);
    comm_ = nullptr;
  }

  const Nccl& nccl_;
  const NcclOptions options_;
  Rendezvous& rendezvous_;
  Backend& backend_;
  ncclComm_t comm_ = nullptr;
  std::unique_ptr<PushSums> push_;  // null: all sums through NCCL
  cuda::DeviceArray<float> parts_;  // leader: what every rank sent, rank by rank
  std::vector<float> host_;
};

}  // namespace

absl::Status CheckNccl() { return Library().status(); }

absl::StatusOr<std::unique_ptr<Collective>> MakeNcclCollective(const NcclOptions& options,
                                                               Rendezvous& rendezvous,
                                                               Backend& backend) {
  RETURN_IF_ERROR(Library().status());
  auto collective = std::make_unique<NcclCollective>(*Library(), options, rendezvous, backend);
  RETURN_IF_ERROR(collective->Connect());
  return collective;
}

}  // namespace headlong
