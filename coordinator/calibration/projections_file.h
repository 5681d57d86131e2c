// Projections of heads as a safetensors file: fp32 tensors "layers.L.heads.H.k" and
// "layers.L.heads.H.v", [rank][head_dim]; and as the wire has them.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "cache/plan.h"
#include "cache/projections.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "headlong/v1/placement.pb.h"

namespace headlong {

// Errors name the file and the tensor: another type or name, rows of another length than the
// others', and what Projections::Create refuses. Neither reads beyond the file nor believes it.
absl::StatusOr<std::shared_ptr<const Projections>> ReadProjections(
    const std::filesystem::path& path);

// The file as bytes, the same for equal projections.
std::string ProjectionsFile(const Projections& projections);

// Reads what `plan` names, beside `plan_file`, and gives it to the plan. Nothing where no head has
// a rank. `head_dim` is the model's.
absl::Status LoadProjections(const std::filesystem::path& plan_file, int head_dim, Plan& plan);

using WireProjections = google::protobuf::RepeatedPtrField<v1::HeadProjection>;
void AddToWire(int layer, int head, const HeadProjections& projection, WireProjections& wire);
// INVALID_ARGUMENT as Projections::Create, or for a head that is there twice.
absl::StatusOr<std::shared_ptr<const Projections>> FromWire(const WireProjections& wire,
                                                            int head_dim);

}  // namespace headlong
