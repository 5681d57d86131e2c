#include "worker/kernels/cuda_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

namespace headlong::cuda {
namespace {

using ::testing::HasSubstr;

TEST(CudaLibrary, WhatIsMissingIsNamedWithEveryPlace) {
  setenv("HEADLONG_CUDA_PATH", "/first:/second", 1);
  const auto library = OpenLibrary("libnone.so.99");
  unsetenv("HEADLONG_CUDA_PATH");
  ASSERT_FALSE(library.ok());
  const std::string message(library.status().message());
  EXPECT_TRUE(absl::IsNotFound(library.status()));
  for (const char* part : {"libnone.so.99", "HEADLONG_CUDA_PATH", "/first/lib64", "/second/lib,",
                           "LD_LIBRARY_PATH", "/usr/local/cuda/lib64"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(CudaLibrary, ThereIsASymbolOrItIsNamed) {
  const auto library = OpenLibrary("libc.so.6");
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_TRUE(FindSymbol(*library, "libc.so.6", "strlen").ok());
  EXPECT_THAT(std::string(FindSymbol(*library, "libc.so.6", "no_such").status().message()),
              HasSubstr("libc.so.6 has no function no_such"));
}

}  // namespace
}  // namespace headlong::cuda
