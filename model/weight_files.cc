#include "model/weight_files.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <system_error>

#include "common/json.h"
#include "common/status.h"

namespace headlong {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr std::size_t kMaxNameBytes = 255;  // of a file on Linux
constexpr std::size_t kMaxShards = 4096;

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Also a link whose file is missing, as a broken download leaves in a hub cache: opening it says
// so.
bool IsListed(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

// A name that cannot lead out of the folder, whatever the system makes of it.
bool IsPlainFileName(std::string_view name) {
  constexpr std::string_view kEnding = ".safetensors";
  if (name.size() <= kEnding.size() || name.size() > kMaxNameBytes) return false;
  if (!name.ends_with(kEnding) || name.starts_with('.')) return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20;
  });
}

// What a folder without weights has instead tells the user what went wrong.
std::string WhatIsThereInstead(const std::filesystem::path& model_dir) {
  std::error_code error;
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(model_dir, error)) {
    const std::string name = entry.path().filename().string();
    const std::string ending = entry.path().extension().string();
    if (ending == ".safetensors" || ending == ".bin" || ending == ".gguf" || ending == ".pth" ||
        ending == ".pt") {
      found.insert(name);
    }
  }
  if (found.empty()) return "";
  return absl::StrCat("; ", *found.begin(), " is there, but is neither");
}

}  // namespace

absl::StatusOr<WeightFiles> ParseWeightIndex(const std::string& json_text,
                                             const std::string& source) {
  ASSIGN_OR_RETURN(const Json index, ParseJson(json_text, source, {.max_depth = 8}));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": weight_map: must be an object of tensor names, ",
                     map == index.end() ? "is missing" : absl::StrCat("is ", JsonExcerpt(*map))));
  }
  WeightFiles files;
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": weight_map: ", JsonExcerpt(tensor),
                       ": must be the plain name of a .safetensors file, is ", JsonExcerpt(file)));
    }
    names.insert(file.get<std::string>());
    files.shard_of.emplace(tensor, file.get<std::string>());
    if (names.size() > kMaxShards) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": weight_map: more than ", kMaxShards, " files"));
    }
  }
  files.names.assign(names.begin(), names.end());
  return files;
}

absl::StatusOr<WeightFiles> FindWeightFiles(const std::filesystem::path& model_dir) {
  if (IsListed(model_dir / kSingleFile)) return WeightFiles{.names = {kSingleFile}, .shard_of = {}};
  const std::filesystem::path index_path = model_dir / kIndexFile;
  if (!Exists(index_path)) {
    return absl::NotFoundError(absl::StrCat(model_dir.string(), ": no weights: neither ",
                                            kSingleFile, " nor ", kIndexFile,
                                            WhatIsThereInstead(model_dir)));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path));
  ASSIGN_OR_RETURN(WeightFiles files, ParseWeightIndex(text, index_path.string()));
  const auto absent = std::find_if(files.names.begin(), files.names.end(),
                                   [&](const auto& name) { return !Exists(model_dir / name); });
  if (absent == files.names.end()) return files;
  const auto missing = std::count_if(files.names.begin(), files.names.end(),
                                     [&](const auto& name) { return !Exists(model_dir / name); });
  return absl::NotFoundError(absl::StrCat((model_dir / *absent).string(), ": no such file; ",
                                          missing, " of the ", files.names.size(), " files that ",
                                          kIndexFile, " names are missing"));
}

}  // namespace headlong
