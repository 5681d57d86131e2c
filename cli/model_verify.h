// Whether the files of a model folder are what they were: the hash of every file of weights, every
// number finite, every tensor there with its shape. Reads all of it, on several threads.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/json_output.h"
#include "cli/terminal.h"

namespace headlong {

struct VerifiedFile {
  std::string name;
  int64_t bytes = 0;
  std::string sha256;
  std::string expected;  // hash; empty: nobody said
  bool ok() const { return expected.empty() || expected == sha256; }
};

struct SpoiledTensor {
  std::string name;
  std::string file;
  int64_t not_finite = 0;  // NaN or infinite
};

struct VerifiedModel {
  std::vector<VerifiedFile> files;  // by name
  int64_t tensors = 0;
  int64_t numbers = 0;                 // of them that were looked at
  std::vector<SpoiledTensor> spoiled;  // by name
  std::string shape_error;             // empty: every tensor is there with its shape
  std::vector<std::string> unlisted;   // files that the sums name and the folder has not

  bool ok() const;
};

// "HASH  NAME" lines, as sha256sum writes them. INVALID_ARGUMENT names the line.
absl::StatusOr<std::map<std::string, std::string>> ParseSums(std::string_view text,
                                                             const std::string& source);

// How many of `count` numbers are NaN or infinite. `dtype` is safetensors' word; of types without
// either (integers), and of types that no model here may have, none.
int64_t CountNotFinite(std::string_view dtype, const std::byte* data, int64_t count);

// Errors: no config.json, no weights, a file that cannot be read or whose header is wrong, Ctrl-C.
absl::StatusOr<VerifiedModel> VerifyModel(const std::filesystem::path& folder,
                                          const std::map<std::string, std::string>& sums,
                                          Terminal& terminal);

OutputJson VerifyJson(const VerifiedModel& model);
std::string VerifyText(const VerifiedModel& model);

}  // namespace headlong
