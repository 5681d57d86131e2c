#include "cli/own_program.h"

#include <filesystem>

namespace headlong {

std::string OwnProgram() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error && std::filesystem::exists(path, error)) return path.string();
  return "/proc/self/exe";
}

}  // namespace headlong
