// Gloo throws; no exception leaves this file.
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

#include "common/status.h"
#include "worker/collective.h"
#include "worker/gloo_context.h"

namespace headlong {
namespace {

constexpr uint64_t kGatherSlot = 1;  // tag of gather traffic; Gloo's own collectives use others

class GlooCollective final : public Collective {
 public:
  GlooCollective(const GlooOptions& options, std::shared_ptr<gloo::rendezvous::Context> context)
      : options_(options), context_(std::move(context)) {}

  absl::Status Sum(Activations x, int64_t count) override {
    if (count == 0) return absl::OkStatus();
    return Guarded("sum", [&] {
      gloo::AllreduceOptions options(context_);
      options.setOutput(static_cast<float*>(x.data), count);
      options.setReduceFunction(
          static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
      options.setTimeout(options_.timeout);
      gloo::allreduce(options);
    });
  }

  absl::Status PrepareGather(int64_t) override { return absl::OkStatus(); }

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) override {
    return Guarded("gather", [&] {
      if (options_.rank == 0) {
        Receive(static_cast<const float*>(x.data), rows, columns);
      } else if (rows * columns[options_.rank] > 0) {
        auto buffer = context_->createUnboundBuffer(
            x.data, sizeof(float) * int64_t{rows} * columns[options_.rank]);
        buffer->send(0, kGatherSlot);
        buffer->waitSend(options_.timeout);
      }
    });
  }

  absl::Status ReadGathered(Activations, int sent, int rows, const std::vector<int>& columns,
                            std::vector<float>& out) override {
    if (options_.rank == 0) PlaceParts(parts_.data(), columns, sent, rows, out);
    return absl::OkStatus();
  }

 private:
  void Receive(const float* own, int rows, const std::vector<int>& columns) {
    const int64_t total = std::accumulate(columns.begin(), columns.end(), int64_t{0});
    parts_.resize(rows * total);
    float* part = std::copy_n(own, int64_t{rows} * columns[0], parts_.data());
    for (int rank = 1; rank < options_.world; ++rank) {
      const int64_t count = int64_t{rows} * columns[rank];
      if (count == 0) continue;
      auto buffer = context_->createUnboundBuffer(part, sizeof(float) * count);
      buffer->recv(rank, kGatherSlot);
      buffer->waitRecv(options_.timeout);
      part += count;
    }
  }

  template <typename Operation>
  absl::Status Guarded(const char* what, Operation operation) {
    try {
      operation();
      return absl::OkStatus();
    } catch (const std::exception& error) {
      return absl::UnavailableError(absl::StrCat(what, " between workers: ", error.what()));
    }
  }

  const GlooOptions options_;
  const std::shared_ptr<gloo::rendezvous::Context> context_;
  std::vector<float> parts_;  // leader: what every rank sent, rank by rank
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> MakeGlooCollective(const GlooOptions& options,
                                                               Rendezvous& rendezvous) {
  try {
    auto context = ConnectMesh(options, "", rendezvous);
    return std::make_unique<GlooCollective>(options, std::move(context));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("connecting ", options.world, " workers as rank ",
                                               options.rank, ": ", error.what()));
  }
}

}  // namespace headlong
