#include "worker/collective.h"

#include <algorithm>
#include <numeric>

#include "common/status.h"

namespace headlong {
namespace {

class SingleCollective final : public Collective {
 public:
  explicit SingleCollective(Backend& backend) : backend_(backend) {}

  absl::Status Sum(Activations, int64_t) override { return absl::OkStatus(); }
  absl::Status PrepareGather(int64_t) override { return absl::OkStatus(); }
  absl::Status GatherToLeader(Activations, int, const std::vector<int>&) override {
    return absl::OkStatus();
  }
  absl::Status ReadGathered(Activations x, int, int rows, const std::vector<int>&,
                            std::vector<float>& out) override {
    out.resize(int64_t{rows} * x.columns);
    backend_.ReadFloats(x, std::ssize(out), out.data());
    return absl::OkStatus();
  }
  Activations Gathered(Activations x) const override { return x; }
  bool recordable() const override { return true; }

 private:
  Backend& backend_;
};

}  // namespace

absl::StatusOr<Sums> SumsFromName(const std::string& name) {
  if (name == "auto") return Sums::kAuto;
  if (name == "nccl") return Sums::kNccl;
  if (name == "push") return Sums::kPush;
  return absl::InvalidArgumentError(
      absl::StrCat("sums: must be auto, nccl or push, is \"", name, "\""));
}

void PlaceParts(const float* parts, const std::vector<int>& columns, int sent, int rows,
                std::vector<float>& out) {
  const int64_t total = std::accumulate(columns.begin(), columns.end(), int64_t{0});
  out.resize(rows * total);
  int64_t first = 0;
  for (const int width : columns) {
    for (int row = 0; row < rows; ++row) {
      std::copy_n(parts + int64_t{row} * width, width, out.data() + row * total + first);
    }
    parts += int64_t{sent} * width;
    first += width;
  }
}

std::unique_ptr<Collective> MakeSingleCollective(Backend& backend) {
  return std::make_unique<SingleCollective>(backend);
}

}  // namespace headlong
