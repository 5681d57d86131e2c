#include "coordinator/calibration/projections_file.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/json.h"
#include "common/status.h"
#include "model/safetensors.h"

namespace headlong {
namespace {

struct TensorPlace {
  int layer = 0;
  int head = 0;
  bool values = false;
};

std::string TensorName(int layer, int head, bool values) {
  return absl::StrCat("layers.", layer, ".heads.", head, values ? ".v" : ".k");
}

// Of names as TensorName writes them.
std::optional<TensorPlace> PlaceOf(const std::string& name) {
  const std::vector<std::string> words = absl::StrSplit(name, '.');
  TensorPlace place;
  if (words.size() != 5 || !absl::SimpleAtoi(words[1], &place.layer) ||
      !absl::SimpleAtoi(words[3], &place.head)) {
    return std::nullopt;
  }
  place.values = words[4] == "v";
  if (place.layer < 0 || place.head < 0) return std::nullopt;
  return TensorName(place.layer, place.head, place.values) == name ? std::optional(place)
                                                                   : std::nullopt;
}

std::vector<float>& Side(HeadProjections& head, bool values) {
  return values ? head.values : head.keys;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Projections>> ReadProjections(
    const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  int64_t head_dim = 0;
  Projections::Heads heads;
  for (const StoredTensor& tensor : file->tensors()) {
    const auto refuse = [&](std::string_view why) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": tensor ", tensor.name, ": ", Av(why)));
    };
    const std::optional<TensorPlace> place = PlaceOf(tensor.name);
    if (!place) return refuse("is no projection: names are layers.L.heads.H.k or .v");
    if (tensor.dtype != "F32") return refuse("must be F32");
    if (tensor.shape.size() != 2 || tensor.shape[1] < 1 || tensor.shape[1] > kMaxHeadDim) {
      return refuse("must be [rank][head_dim]");
    }
    if (head_dim == 0) head_dim = tensor.shape[1];
    if (tensor.shape[1] != head_dim) return refuse("has rows of another length than the others");
    std::vector<float>& to = Side(heads[{place->layer, place->head}], place->values);
    to.resize(static_cast<size_t>(tensor.bytes) / sizeof(float));
    std::memcpy(to.data(), file->data(tensor), to.size() * sizeof(float));
  }
  if (heads.empty()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": is empty"));
  auto created = Projections::Create(static_cast<int>(head_dim), std::move(heads));
  if (!created.ok()) return Annotate(created.status(), path.string());
  return created;
}

std::string ProjectionsFile(const Projections& projections) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::string numbers;
  for (const auto& [place, head] : projections.heads()) {
    for (const bool values : {false, true}) {
      const std::vector<float>& rows = values ? head.values : head.keys;
      if (rows.empty()) continue;
      const size_t begin = numbers.size();
      numbers.append(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(float));
      const auto dims = static_cast<size_t>(projections.head_dim());
      header[TensorName(place.first, place.second, values)] = {
          {"dtype", "F32"},
          {"shape", {rows.size() / dims, dims}},
          {"data_offsets", {begin, numbers.size()}}};
    }
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + text + numbers;
}

absl::Status LoadProjections(const std::filesystem::path& plan_file, int head_dim, Plan& plan) {
  if (plan.projections_file().empty()) return absl::OkStatus();
  const std::filesystem::path path = plan_file.parent_path() / plan.projections_file();
  ASSIGN_OR_RETURN(auto projections, ReadProjections(path));
  if (projections->head_dim() != head_dim) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": is for a head_dim of ",
                                                   projections->head_dim(), ", the model has ",
                                                   head_dim));
  }
  return Annotate(plan.UseProjections(std::move(projections)), path.string());
}

void AddToWire(int layer, int head, const HeadProjections& projection, WireProjections& wire) {
  v1::HeadProjection& to = *wire.Add();
  to.set_layer(static_cast<uint32_t>(layer));
  to.set_head(static_cast<uint32_t>(head));
  to.mutable_keys()->Add(projection.keys.begin(), projection.keys.end());
  to.mutable_values()->Add(projection.values.begin(), projection.values.end());
}

absl::StatusOr<std::shared_ptr<const Projections>> FromWire(const WireProjections& wire,
                                                            int head_dim) {
  Projections::Heads heads;
  for (const v1::HeadProjection& from : wire) {
    const std::pair place(static_cast<int>(from.layer()), static_cast<int>(from.head()));
    const HeadProjections head{{from.keys().begin(), from.keys().end()},
                               {from.values().begin(), from.values().end()}};
    if (!heads.emplace(place, head).second) {
      return absl::InvalidArgumentError(absl::StrCat("projections: layer ", place.first, " head ",
                                                     place.second, " is there twice"));
    }
  }
  return Projections::Create(head_dim, std::move(heads));
}

}  // namespace headlong
