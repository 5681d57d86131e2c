#include "worker/collective_device.h"

#include <spdlog/spdlog.h>

#include <set>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/collective_nccl.h"

namespace headlong {
namespace {

class StagedCollective final : public Collective {
 public:
  StagedCollective(std::unique_ptr<Collective> host, Backend& backend)
      : host_(std::move(host)), backend_(backend) {}

  absl::Status Sum(Activations x, int64_t count) override {
    RETURN_IF_ERROR(host_->Sum(Read(x, count), count));
    backend_.WriteFloats(values_.data(), count, x);
    return absl::OkStatus();
  }

  absl::Status PrepareGather(int64_t most) override { return host_->PrepareGather(most); }

  absl::Status GatherToLeader(Activations x, int rows, const std::vector<int>& columns) override {
    return host_->GatherToLeader(Read(x, int64_t{rows} * x.columns), rows, columns);
  }

  absl::Status ReadGathered(Activations x, int sent, int rows, const std::vector<int>& columns,
                            std::vector<float>& out) override {
    return host_->ReadGathered(x, sent, rows, columns, out);
  }

 private:
  Activations Read(Activations x, int64_t count) {
    if (count > static_cast<int64_t>(values_.size())) values_.resize(count);
    backend_.ReadFloats(x, count, values_.data());
    return {values_.data(), x.columns};
  }

  const std::unique_ptr<Collective> host_;
  Backend& backend_;
  std::vector<float> values_;
};

// True on all ranks or on none: every rank has a GPU that no other has, and NCCL.
absl::StatusOr<bool> AllHaveNccl(const GlooOptions& options, const DeviceChoice& device,
                                 Rendezvous& rendezvous) {
  std::string mine = device.uuid;
  if (device.cuda()) {
    if (const absl::Status nccl = CheckNccl(); !nccl.ok()) {
      spdlog::warn("sums go through the host's memory: {}", nccl.ToString());
      mine.clear();
    }
  }
  RETURN_IF_ERROR(rendezvous.Put(absl::StrCat("gpu/", options.rank), "gpu " + mine));
  std::set<std::string> gpus;
  for (int rank = 0; rank < options.world; ++rank) {
    ASSIGN_OR_RETURN(const std::string gpu,
                     rendezvous.Get(absl::StrCat("gpu/", rank), options.connect_timeout));
    if (gpu != "gpu ") gpus.insert(gpu);
  }
  return static_cast<int>(gpus.size()) == options.world;
}

}  // namespace

std::unique_ptr<Collective> MakeStagedCollective(std::unique_ptr<Collective> host,
                                                 Backend& backend) {
  return std::make_unique<StagedCollective>(std::move(host), backend);
}

absl::StatusOr<std::unique_ptr<Collective>> ConnectWorkers(const GlooOptions& options,
                                                           const DeviceChoice& device, Sums sums,
                                                           Rendezvous& rendezvous,
                                                           Backend& backend) {
  if (options.world == 1) return MakeSingleCollective(backend);
  ASSIGN_OR_RETURN(const bool nccl, AllHaveNccl(options, device, rendezvous));
  if (nccl) {
    NcclOptions of_gpus;
    of_gpus.rank = options.rank;
    of_gpus.world = options.world;
    of_gpus.sums = sums;
    of_gpus.timeout = options.timeout;
    of_gpus.connect_timeout = options.connect_timeout;
    return MakeNcclCollective(of_gpus, rendezvous, backend);
  }
  if (device.cuda() && sums == Sums::kPush) {
    return absl::FailedPreconditionError("--sums push: not every worker has a GPU of its own");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Collective> host, MakeGlooCollective(options, rendezvous));
  return device.cuda() ? MakeStagedCollective(std::move(host), backend) : std::move(host);
}

}  // namespace headlong
