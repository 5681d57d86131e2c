// Gloo throws; no exception leaves this file.
#include <algorithm>
#include <exception>
#include <numeric>

#include "common/status.h"
#include "worker/collective.h"
#include "worker/gloo_messages.h"

namespace headlong {
namespace {

// A rank begins a sum when it has all of the one before, so that each connection holds two of its
// messages at most.
constexpr int64_t kMessageFloats = GlooMessages::kMostUnread / 2 / sizeof(float);

class GlooCollective final : public Collective {
 public:
  GlooCollective(const GlooOptions& options, Rendezvous& rendezvous)
      : options_(options),
        messages_(options, rendezvous),
        sum_(kMessageFloats),
        part_(kMessageFloats) {}

  absl::Status Sum(Activations x, int64_t count) override {
    return Guarded("sum", [&] {
      const int64_t most = kMessageFloats * options_.world;
      for (int64_t begin = 0; begin < count; begin += most) {
        float* values = static_cast<float*>(x.data) + begin;
        const int64_t some = std::min(most, count - begin);
        some > kMessageFloats ? SumInParts(values, some) : SumEverywhere(values, some);
      }
    });
  }

  absl::Status PrepareGather(int64_t) override { return absl::OkStatus(); }

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) override {
    return Guarded("gather", [&] {
      if (options_.rank == 0) {
        ReceiveParts(static_cast<const float*>(x.data), rows, columns);
      } else if (rows * columns[options_.rank] > 0) {
        Send(0, static_cast<float*>(x.data), int64_t{rows} * columns[options_.rank]);
      }
    });
  }

  absl::Status ReadGathered(Activations, int sent, int rows, const std::vector<int>& columns,
                            std::vector<float>& out) override {
    if (options_.rank == 0) PlaceParts(parts_.data(), columns, sent, rows, out);
    return absl::OkStatus();
  }

 private:
  // Every rank sends to every other and adds all: takes one message's time.
  void SumEverywhere(float* x, int64_t count) {
    ForOthers([&](int rank) { Send(rank, x, count); });
    AddOthers(x, count);
  }

  // Each rank adds one part and sends its sum to every other: takes two messages' time, but what a
  // rank sends does not grow with their number.
  void SumInParts(float* x, int64_t count) {
    const auto begin = [&](int rank) { return count * rank / options_.world; };
    const auto size = [&](int rank) { return begin(rank + 1) - begin(rank); };
    float* own = x + begin(options_.rank);
    const int64_t own_size = size(options_.rank);
    ForOthers([&](int rank) { Send(rank, x + begin(rank), size(rank)); });
    AddOthers(own, own_size);
    ForOthers([&](int rank) { Send(rank, own, own_size); });
    ForOthers([&](int rank) { Receive(rank, x + begin(rank), size(rank)); });
  }

  // x += the next message of every other rank. In the order of the ranks, so that all get the same
  // bits where each adds for itself.
  void AddOthers(float* x, int64_t count) {
    std::fill_n(sum_.begin(), count, 0.0f);
    for (int rank = 0; rank < options_.world; ++rank) {
      const float* part = x;
      if (rank != options_.rank) {
        Receive(rank, part_.data(), count);
        part = part_.data();
      }
      for (int64_t i = 0; i < count; ++i) sum_[i] += part[i];
    }
    std::copy_n(sum_.begin(), count, x);
  }

  void ReceiveParts(const float* own, int rows, const std::vector<int>& columns) {
    const int64_t total = std::accumulate(columns.begin(), columns.end(), int64_t{0});
    parts_.resize(rows * total);
    float* part = std::copy_n(own, int64_t{rows} * columns[0], parts_.data());
    for (int rank = 1; rank < options_.world; ++rank) {
      const int64_t count = int64_t{rows} * columns[rank];
      if (count == 0) continue;
      Receive(rank, part, count);
      part += count;
    }
  }

  template <typename Operation>
  void ForOthers(Operation operation) {
    for (int rank = 0; rank < options_.world; ++rank) {
      if (rank != options_.rank) operation(rank);
    }
  }
  void Send(int rank, float* x, int64_t count) { messages_.Send(rank, x, sizeof(float) * count); }
  void Receive(int rank, float* x, int64_t count) {
    messages_.Receive(rank, x, sizeof(float) * count);
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
  GlooMessages messages_;
  std::vector<float> sum_, part_;  // of one message
  std::vector<float> parts_;       // leader: what every rank sent, rank by rank
};

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> MakeGlooCollective(const GlooOptions& options,
                                                               Rendezvous& rendezvous) {
  try {
    return std::make_unique<GlooCollective>(options, rendezvous);
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("connecting ", options.world, " workers as rank ",
                                               options.rank, ": ", error.what()));
  }
}

}  // namespace headlong
