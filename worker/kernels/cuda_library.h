// Shared libraries of CUDA, opened when the program needs them: the program itself starts, and is
// built, where none is installed. Stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong::cuda {

// Where to look, in this order, as folders: those of HEADLONG_CUDA_PATH (and lib64 and lib inside
// each), "" for the loader's own search (LD_LIBRARY_PATH, ld.so.cache), /usr/local/cuda, and the
// packages nvidia-* of the Python that is first on PATH.
std::vector<std::string> LibraryFolders();

// A handle for dlsym, never closed. NOT_FOUND names the library and every place that was tried.
absl::StatusOr<void*> OpenLibrary(const std::string& file_name);

// The address of `symbol`. NOT_FOUND names it and the library.
absl::StatusOr<void*> FindSymbol(void* library, const std::string& file_name, const char* symbol);

// The same into a pointer to a function.
template <typename Function>
absl::Status BindFunction(void* library, const std::string& file_name, const char* symbol,
                          Function& function) {
  const absl::StatusOr<void*> address = FindSymbol(library, file_name, symbol);
  if (address.ok()) function = reinterpret_cast<Function>(*address);
  return address.status();
}

}  // namespace headlong::cuda
