#include "cache/block_pool.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace headlong {
namespace {

TEST(BlockPoolTest, HandsOutTheLowestIdsFirst) {
  BlockPool pool(3);
  EXPECT_EQ(pool.Allocate(), 0);
  EXPECT_EQ(pool.Allocate(), 1);
  EXPECT_EQ(pool.Allocate(), 2);
  EXPECT_EQ(pool.free(), 0);
}

TEST(BlockPoolTest, TheLastOwnerFreesAPage) {
  BlockPool pool(2);
  const int32_t page = pool.Allocate();
  EXPECT_FALSE(pool.shared(page));
  pool.AddReference(page);
  EXPECT_TRUE(pool.shared(page));
  pool.Release(page);
  EXPECT_FALSE(pool.shared(page));
  EXPECT_EQ(pool.used(), 1);
  pool.Release(page);
  EXPECT_EQ(pool.used(), 0);
}

TEST(BlockPoolTest, FreeAndUsedMakeTheTotal) {
  std::mt19937 random(1);
  BlockPool pool(40);
  std::vector<int32_t> references(40);
  for (int i = 0; i < 20'000; ++i) {
    const auto page = static_cast<int32_t>(random() % 40);
    if (random() % 3 == 0 && pool.free() > 0) {
      ASSERT_EQ(references[pool.Allocate()]++, 0) << "a page in use was handed out";
    } else if (references[page] > 0 && random() % 2 == 0) {
      pool.AddReference(page);
      ++references[page];
    } else if (references[page] > 0) {
      pool.Release(page);
      --references[page];
    }
    int32_t used = 0;
    for (int32_t count : references) used += count > 0 ? 1 : 0;
    ASSERT_EQ(pool.used(), used);
    ASSERT_EQ(pool.free() + pool.used(), pool.total());
  }
}

TEST(BlockPoolDeathTest, RefusesWhatWouldCorruptIt) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Release(0), "only a page in use is released");
  EXPECT_DEATH(pool.AddReference(0), "only a page in use is shared");
  EXPECT_DEATH(pool.Release(1), "only a page in use is released");
  pool.Allocate();
  EXPECT_DEATH(pool.Allocate(), "callers ask free");
}

}  // namespace
}  // namespace headlong
