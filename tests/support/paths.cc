#include "tests/support/paths.h"

#include <cstdlib>

namespace headlong {

std::filesystem::path SourceDir() {
  const char* moved = std::getenv("HEADLONG_SOURCE");
  return moved ? moved : HEADLONG_SOURCE_DIR;
}

std::optional<std::filesystem::path> SharedPath(const std::filesystem::path& name) {
  const char* root = std::getenv("HEADLONG_SHARED");
  const std::filesystem::path path =
      (root ? std::filesystem::path(root) : SourceDir().parent_path() / "shared") / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

std::filesystem::path GoldenPath(const std::filesystem::path& name) {
  return SourceDir() / "tests" / "golden" / name;
}

}  // namespace headlong
