// Where tests find the project's own files and the reference material beside a checkout.
#pragma once

#include <filesystem>
#include <optional>

namespace headlong {

// The root of the source tree: where it was built, or $HEADLONG_SOURCE on another machine.
std::filesystem::path SourceDir();

// A file or folder of the shared reference material: $HEADLONG_SHARED/<name>, or ../shared/<name>
// beside the checkout. nullopt when absent: the test must skip, saying so.
std::optional<std::filesystem::path> SharedPath(const std::filesystem::path& name);

// Text outputs of reference implementations that the project carries: tests/golden/<name>.
std::filesystem::path GoldenPath(const std::filesystem::path& name);

}  // namespace headlong
