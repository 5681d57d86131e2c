#include "gtest/gtest.h"
#include "worker/kernels/attention_cpu.h"
#include "worker/kernels/isa.h"

namespace headlong::cpu {
namespace {

TEST(Isa, IsTheWantedOneWhereSupportedElseTheBest) {
  const auto all = [](Isa) { return true; };
  const auto old = [](Isa isa) { return isa != Isa::kAvx512; };
  EXPECT_EQ(ChooseIsa("", all), Isa::kAvx512);
  EXPECT_EQ(ChooseIsa("", old), Isa::kAvx2);
  EXPECT_EQ(ChooseIsa("generic", all), Isa::kGeneric);
  EXPECT_EQ(ChooseIsa("avx512", old), Isa::kAvx2);
  EXPECT_EQ(ChooseIsa("sse9", all), Isa::kAvx512);
  EXPECT_TRUE(IsaSupported(Isa::kGeneric));
  EXPECT_TRUE(IsaSupported(CurrentIsa()));
  EXPECT_STREQ(AttentionIsa(), IsaName(CurrentIsa()));
}

}  // namespace
}  // namespace headlong::cpu
