#include "cli/hay_text.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "cli/local_cluster.h"
#include "cli/prompt.h"
#include "common/status.h"

namespace headlong {

absl::StatusOr<std::string> ReadHayText(const std::string& given, const std::string& model,
                                        const std::string& flag) {
  std::string path = given;
  std::error_code error;
  if (path.empty() && !model.empty()) {
    const auto own = std::filesystem::path(model) / "hay.txt";
    if (std::filesystem::is_regular_file(own, error)) path = own.string();
  }
  if (path.empty()) {
    const absl::StatusOr<std::string> shipped = FindDefaultModel();
    if (!shipped.ok()) {
      return absl::NotFoundError(absl::StrCat("no hay.txt is at hand: give ", flag, " FILE"));
    }
    path = *shipped + "/hay.txt";
  }
  ASSIGN_OR_RETURN(std::string text, ReadInput(path, flag));
  RETURN_IF_ERROR(CheckUtf8(text, absl::StrCat(flag, " ", path)));
  return text;
}

}  // namespace headlong
