#include "worker/kernels/cuda_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "absl/strings/str_join.h"
#include "common/status.h"

namespace headlong::cuda {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> SplitPath(const char* variable) {
  std::vector<std::string> parts;
  const char* value = std::getenv(variable);
  std::istringstream stream(value == nullptr ? "" : value);
  for (std::string part; std::getline(stream, part, ':');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

// site-packages of the first python3 on PATH: PREFIX/lib/python3.N, beside PREFIX/bin.
std::vector<fs::path> PythonPackages() {
  std::error_code error;
  for (const std::string& folder : SplitPath("PATH")) {
    if (!fs::exists(fs::path(folder) / "python3", error)) continue;
    std::vector<fs::path> found;
    const fs::path lib = fs::path(folder).parent_path() / "lib";
    for (const auto& entry : fs::directory_iterator(lib, error)) {
      if (entry.path().filename().string().starts_with("python3")) {
        found.push_back(entry.path() / "site-packages");
        found.push_back(entry.path() / "dist-packages");
      }
    }
    return found;
  }
  return {};
}

}  // namespace

std::vector<std::string> LibraryFolders() {
  std::vector<std::string> folders;
  for (const std::string& folder : SplitPath("HEADLONG_CUDA_PATH")) {
    for (const char* inside : {"", "/lib64", "/lib"}) folders.push_back(folder + inside);
  }
  folders.insert(folders.end(), {"", "/usr/local/cuda/lib64", "/usr/local/cuda/lib"});
  std::error_code error;
  for (const fs::path& packages : PythonPackages()) {
    for (const auto& package : fs::directory_iterator(packages / "nvidia", error)) {
      if (fs::is_directory(package.path() / "lib", error)) {
        folders.push_back((package.path() / "lib").string());
      }
    }
  }
  return folders;
}

absl::StatusOr<void*> OpenLibrary(const std::string& file_name) {
  std::vector<std::string> tried;
  for (const std::string& folder : LibraryFolders()) {
    const std::string path = folder.empty() ? file_name : absl::StrCat(folder, "/", file_name);
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    std::error_code error;
    const bool there = !folder.empty() && fs::exists(path, error);
    tried.push_back(folder.empty() ? "the system's folders (LD_LIBRARY_PATH)"
                    : there        ? absl::StrCat(folder, " (", dlerror(), ")")
                                   : folder);
  }
  return absl::NotFoundError(
      absl::StrCat(file_name, " was not found; set HEADLONG_CUDA_PATH to its folder. Looked in ",
                   absl::StrJoin(tried, ", ")));
}

absl::StatusOr<void*> FindSymbol(void* library, const std::string& file_name, const char* symbol) {
  if (void* address = dlsym(library, symbol)) return address;
  return absl::NotFoundError(absl::StrCat(file_name, " has no function ", symbol));
}

}  // namespace headlong::cuda
