// Projections on a GPU against those on a CPU, with the rotary embedding that a GPU does on the
// way.
#include "worker/projection_cuda.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/orthonormal.h"
#include "worker/kernels/op_cpu.h"
#include "worker/projection_cpu.h"

namespace headlong {
namespace {

std::vector<float> Random(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& x : numbers) x = normal(random);
  return numbers;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    worst = std::isnan(got[i]) ? 1e9 : std::max<double>(worst, std::abs(got[i] - expected[i]));
  }
  EXPECT_LE(worst, 2e-5);
}

struct Shape {
  int head_dim;
  int group;
  int rows;
};

// Three heads: all of both sides, a part of each, and none; then a layer without any.
AttentionShape ShapeOf(const Shape& s) {
  AttentionShape shape;
  shape.head_dim = s.head_dim;
  shape.group = s.group;
  shape.heads = {{0, 1, 2}, {0, 1, 2}};
  const int d = s.head_dim;
  shape.projections = {{{RandomOrthonormal(1, d, d), RandomOrthonormal(2, d, d)},
                        {RandomOrthonormal(3, 16, d), RandomOrthonormal(4, d / 2, d)},
                        {}},
                       {{}, {}, {}}};
  return shape;
}

TEST(ProjectionCuda, EqualsTheCpu) {
  if (!cuda::HasDevice()) GTEST_SKIP() << "no GPU";
  for (const Shape& s : {Shape{64, 2, 7}, Shape{128, 4, 300}, Shape{96, 1, 33}, Shape{80, 16, 3},
                         Shape{256, 8, 20}}) {
    const AttentionShape shape = ShapeOf(s);
    auto projection = ProjectionCuda::Create(shape);
    ASSERT_TRUE(projection.ok()) << projection.status();
    EXPECT_TRUE(projection->any(0));
    EXPECT_FALSE(projection->any(1));
    const ProjectionCpu reference(shape);
    const int heads = 3, d = s.head_dim, columns = heads * (s.group + 2) * d;
    std::vector<float> cos_sin = Random(int64_t{s.rows} * d, 5);
    std::vector<float> qkv = Random(int64_t{s.rows} * columns, 6);
    cuda::DeviceArray<float> table{std::span<const float>(cos_sin)};
    cuda::DeviceArray<float> x{std::span<const float>(qkv)};
    projection->Project(1, x.get(), s.rows, table.get(), nullptr);
    EXPECT_EQ(x.Read(), qkv) << "a layer without projections";
    projection->Project(0, x.get(), s.rows, table.get(), nullptr);
    cpu::ApplyRope(qkv.data(), columns, s.rows, heads * (s.group + 1), d / 2, cos_sin.data());
    reference.Project(0, qkv.data(), s.rows);
    ExpectNear(x.Read(), qkv);

    std::vector<float> out = Random(int64_t{s.rows} * heads * s.group * d, 7);
    cuda::DeviceArray<float> y{std::span<const float>(out)};
    projection->Restore(0, y.get(), s.rows, nullptr);
    reference.Restore(0, out.data(), s.rows);
    ExpectNear(y.Read(), out);
  }
}

}  // namespace
}  // namespace headlong
