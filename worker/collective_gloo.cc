// Gloo throws; no exception leaves this file.
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

#include "common/status.h"
#include "worker/collective.h"

namespace headlong {
namespace {

constexpr uint64_t kGatherSlot = 1;  // tag of gather traffic; Gloo's own collectives use others

// Lays [rows][columns] into columns [first, first + columns) of [rows][total].
void PlaceColumns(const float* part, int rows, int columns, int first, int total, float* out) {
  for (int row = 0; row < rows; ++row) {
    std::copy_n(part + int64_t{row} * columns, columns, out + int64_t{row} * total + first);
  }
}

class SingleCollective final : public Collective {
 public:
  explicit SingleCollective(Backend& backend) : backend_(backend) {}

  absl::Status Sum(Activations, int64_t) override { return absl::OkStatus(); }
  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns,
                              std::vector<float>& out) override {
    out.resize(int64_t{rows} * columns[0]);
    backend_.ReadFloats(x, std::ssize(out), out.data());
    return absl::OkStatus();
  }

 private:
  Backend& backend_;
};

// Gloo's store interface over the coordinator's rendezvous.
class RendezvousStore final : public gloo::rendezvous::Store {
 public:
  RendezvousStore(Rendezvous& rendezvous, std::chrono::milliseconds timeout)
      : rendezvous_(rendezvous), timeout_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    const absl::Status status = rendezvous_.Put(key, std::string(data.begin(), data.end()));
    if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  }
  std::vector<char> get(const std::string& key) override {
    const auto value = rendezvous_.Get(key, timeout_);
    if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }
  void wait(const std::vector<std::string>& keys,
            const std::chrono::milliseconds& timeout) override {
    for (const std::string& key : keys) {
      const auto value = rendezvous_.Get(key, timeout);
      if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
    }
  }

 private:
  Rendezvous& rendezvous_;
  const std::chrono::milliseconds timeout_;
};

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

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns,
                              std::vector<float>& out) override {
    return Guarded("gather", [&] {
      if (options_.rank == 0) {
        Receive(static_cast<const float*>(x.data), rows, columns, out);
      } else if (rows * columns[options_.rank] > 0) {
        auto buffer = context_->createUnboundBuffer(
            x.data, sizeof(float) * int64_t{rows} * columns[options_.rank]);
        buffer->send(0, kGatherSlot);
        buffer->waitSend(options_.timeout);
      }
    });
  }

 private:
  void Receive(const float* own, int rows, const std::vector<int>& columns,
               std::vector<float>& out) {
    const int total = std::accumulate(columns.begin(), columns.end(), 0);
    out.resize(int64_t{rows} * total);
    PlaceColumns(own, rows, columns[0], 0, total, out.data());
    int first = columns[0];
    for (int rank = 1; rank < options_.world; ++rank) {
      received_.resize(int64_t{rows} * columns[rank]);
      if (!received_.empty()) {
        auto buffer =
            context_->createUnboundBuffer(received_.data(), sizeof(float) * received_.size());
        buffer->recv(rank, kGatherSlot);
        buffer->waitRecv(options_.timeout);
        PlaceColumns(received_.data(), rows, columns[rank], first, total, out.data());
      }
      first += columns[rank];
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
  std::vector<float> received_;
};

}  // namespace

std::unique_ptr<Collective> MakeSingleCollective(Backend& backend) {
  return std::make_unique<SingleCollective>(backend);
}

absl::StatusOr<std::unique_ptr<Collective>> MakeGlooCollective(const GlooOptions& options,
                                                               Rendezvous& rendezvous) {
  try {
    gloo::transport::tcp::attr attributes;
    attributes.hostname = options.host;
    auto device = gloo::transport::tcp::CreateDevice(attributes);
    auto context = std::make_shared<gloo::rendezvous::Context>(options.rank, options.world);
    context->setTimeout(options.connect_timeout);
    RendezvousStore store(rendezvous, options.connect_timeout);
    context->connectFullMesh(store, device);
    context->setTimeout(options.timeout);
    return std::make_unique<GlooCollective>(options, std::move(context));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("connecting ", options.world, " workers as rank ",
                                               options.rank, ": ", error.what()));
  }
}

}  // namespace headlong
