// Gloo throws; no exception leaves this file.
#include <gloo/allreduce.h>
#include <gloo/math.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

#include "common/status.h"
#include "worker/collective.h"
#include "worker/gloo_context.h"
#include "worker/gloo_messages.h"

namespace headlong {
namespace {

// x += what the other ranks have, `others` [world - 1][count], in the order of all ranks.
void AddInOrder(const float* others, int own_rank, int world, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) {
    float sum = own_rank == 0 ? x[i] : others[i];
    for (int rank = 1; rank < world; ++rank) {
      sum += rank == own_rank ? x[i] : others[(rank < own_rank ? rank : rank - 1) * count + i];
    }
    x[i] = sum;
  }
}

constexpr int64_t kMessageFloats = GlooMessages::kMostUnread / 2 / sizeof(float);

class GlooCollective final : public Collective {
 public:
  GlooCollective(const GlooOptions& options, Rendezvous& rendezvous)
      : options_(options),
        context_(ConnectMesh(options, "", rendezvous)),
        messages_(options, rendezvous),
        others_((options.world - 1) * kMessageFloats) {
    float none = 0;
    SumInRing(&none, 1);  // all ranks are ready for messages
  }

  absl::Status Sum(Activations x, int64_t count) override {
    auto* values = static_cast<float*>(x.data);
    return Guarded("sum", [&] {
      if (count > kMessageFloats && options_.world > 2) return SumInRing(values, count);
      for (int64_t done = 0; done < count; done += kMessageFloats) {
        SumByMessages(values + done, std::min(kMessageFloats, count - done));
      }
    });
  }

  absl::Status PrepareGather(int64_t) override { return absl::OkStatus(); }

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) override {
    return Guarded("gather", [&] {
      if (options_.rank == 0) {
        Receive(static_cast<const float*>(x.data), rows, columns);
      } else if (rows * columns[options_.rank] > 0) {
        messages_.Send(0, x.data, sizeof(float) * int64_t{rows} * columns[options_.rank]);
      }
    });
  }

  absl::Status ReadGathered(Activations, int sent, int rows, const std::vector<int>& columns,
                            std::vector<float>& out) override {
    if (options_.rank == 0) PlaceParts(parts_.data(), columns, sent, rows, out);
    return absl::OkStatus();
  }

 private:
  // Each byte goes over the network twice, whatever the number of ranks.
  void SumInRing(float* x, int64_t count) {
    gloo::AllreduceOptions options(context_);
    options.setOutput(x, count);
    options.setReduceFunction(
        static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
    options.setTimeout(options_.timeout);
    gloo::allreduce(options);
  }

  // Every rank sends to every other and adds in the order of the ranks: all get the same bits, after
  // one message's time. A rank begins the next sum when it has all of this one: no more than two
  // messages of a rank are unread.
  void SumByMessages(float* x, int64_t count) {
    const int64_t bytes = sizeof(float) * count;
    for (int rank = 0; rank < options_.world; ++rank) {
      if (rank != options_.rank) messages_.Send(rank, x, bytes);
    }
    float* part = others_.data();
    for (int rank = 0; rank < options_.world; ++rank) {
      if (rank == options_.rank) continue;
      messages_.Receive(rank, part, bytes);
      part += count;
    }
    AddInOrder(others_.data(), options_.rank, options_.world, count, x);
  }

  void Receive(const float* own, int rows, const std::vector<int>& columns) {
    const int64_t total = std::accumulate(columns.begin(), columns.end(), int64_t{0});
    parts_.resize(rows * total);
    float* part = std::copy_n(own, int64_t{rows} * columns[0], parts_.data());
    for (int rank = 1; rank < options_.world; ++rank) {
      const int64_t count = int64_t{rows} * columns[rank];
      if (count == 0) continue;
      messages_.Receive(rank, part, sizeof(float) * count);
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
  GlooMessages messages_;
  std::vector<float> others_;  // messages of one sum: [world - 1][kMessageFloats]
  std::vector<float> parts_;  // leader: what every rank sent, rank by rank
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
