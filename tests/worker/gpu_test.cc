#include "worker/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace headlong {
namespace {

using ::testing::HasSubstr;

Gpu Usable(int index) { return {index, "H200", "ab", 1, ""}; }
Gpu Refused(int index) { return {index, "V100", "cd", 1, "too old"}; }
using Gpus = absl::StatusOr<std::vector<Gpu>>;

TEST(ChooseDevice, AutoTakesTheFirstUsableGpu) {
  EXPECT_EQ(ChooseDevice("auto", -1, Gpus({Refused(0), Usable(1), Usable(2)}))->gpu, 1);
  EXPECT_EQ(ChooseDevice("auto", -1, Gpus({Refused(0), Usable(1)}))->name, "cuda:1 H200");
  EXPECT_EQ(ChooseDevice("auto", 2, Gpus({Usable(0), Usable(1), Usable(2)}))->gpu, 2);
}

TEST(ChooseDevice, AutoFallsBackUnlessAGpuWasNamed) {
  const Gpus none = absl::UnavailableError("no driver");
  EXPECT_EQ(ChooseDevice("auto", -1, none)->name, "cpu");
  EXPECT_EQ(ChooseDevice("auto", -1, Gpus({Refused(0)}))->name, "cpu");
  EXPECT_THAT(std::string(ChooseDevice("auto", 0, none).status().message()),
              HasSubstr("no driver"));
}

TEST(ChooseDevice, CudaSaysWhyNot) {
  const auto why = [](int index, const Gpus& gpus) {
    return std::string(ChooseDevice("cuda", index, gpus).status().message());
  };
  EXPECT_THAT(why(-1, absl::UnavailableError("no driver")), HasSubstr("no driver"));
  EXPECT_THAT(why(-1, Gpus({Refused(0)})), HasSubstr("V100: too old"));
  EXPECT_THAT(why(3, Gpus({Usable(0)})), HasSubstr("no GPU 3, this machine has 1"));
}

TEST(ChooseDevice, TheCpuIsNoGpu) {
  EXPECT_FALSE(ChooseDevice("cpu", -1, Gpus({Usable(0)}))->cuda());
  EXPECT_FALSE(ChooseDevice("cpu", 0, Gpus({Usable(0)})).ok());
  EXPECT_FALSE(ChooseDevice("tpu", -1, Gpus({Usable(0)})).ok());
}

TEST(RunsOn, ArchitecturesAsCmakeNamesThemWithCommas) {
  EXPECT_TRUE(RunsOn("90a-real", 9, 0));
  EXPECT_FALSE(RunsOn("90a-real", 9, 1));
  EXPECT_FALSE(RunsOn("90a-real", 8, 0));
  EXPECT_FALSE(RunsOn("90a-real", 10, 0));
  EXPECT_TRUE(RunsOn("80-real", 8, 9));
  EXPECT_FALSE(RunsOn("80-real", 9, 0));
  EXPECT_FALSE(RunsOn("86-real", 8, 0));
  EXPECT_TRUE(RunsOn("80-real,120", 12, 1));
  EXPECT_TRUE(RunsOn("80", 9, 0));
  EXPECT_FALSE(RunsOn("", 9, 0));
}

TEST(RunsOn, WhatThePackageIsBuiltFor) {
  const std::string all = "80-real,86-real,89-real,90a-real,100-real,120";
  for (const auto& [major, minor] :
       {std::pair(8, 0), {8, 6}, {8, 9}, {9, 0}, {10, 0}, {10, 3}, {12, 0}, {12, 1}, {13, 0}}) {
    EXPECT_TRUE(RunsOn(all, major, minor)) << major << "." << minor;
  }
  EXPECT_FALSE(RunsOn(all, 7, 5));
}

TEST(DefaultGpuLimit, APartOfTheGpuAndNotMoreThanIsFree) {
  const int64_t gib = int64_t{1} << 30;
  EXPECT_EQ(DefaultGpuLimit({80 * gib, 80 * gib}, 1), 80 * gib - 768 * (gib >> 10));
  EXPECT_EQ(DefaultGpuLimit({70 * gib, 80 * gib}, 2), 40 * gib - 768 * (gib >> 10));
  EXPECT_EQ(DefaultGpuLimit({10 * gib, 80 * gib}, 2), 10 * gib - 768 * (gib >> 10));
  EXPECT_EQ(DefaultGpuLimit({1, 80 * gib}, 1), 0);
}

}  // namespace
}  // namespace headlong
