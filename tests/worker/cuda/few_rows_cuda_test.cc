// Products of few rows on a GPU: against fp64 on the host, and what they do on the way against the
// kernels that do the same apart, bit for bit. Skipped, with a word, where there is no GPU.
#include "worker/kernels/few_rows_cuda.h"

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "worker/kernels/device_array.h"

namespace headlong::cuda {
namespace {

int PitchOf(int inputs) { return (inputs + kPitchStep - 1) / kPitchStep * kPitchStep; }

uint16_t Bits(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }
double Widened(uint16_t bits) { return __bfloat162float(__ushort_as_bfloat16(bits)); }

class FewRowsCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasDevice()) GTEST_SKIP() << "no GPU";
  }

  std::vector<float> Floats(int64_t count, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> floats(count);
    for (float& x : floats) x = normal(random_);
    return floats;
  }

  // Rows of `inputs` numbers, filled up with zeros.
  std::vector<uint16_t> Rows(int rows, int inputs, float scale = 1) {
    std::vector<uint16_t> result;
    for (int row = 0; row < rows; ++row) {
      for (const float x : Floats(inputs, scale)) result.push_back(Bits(x));
      result.resize(int64_t{row + 1} * PitchOf(inputs), 0);
    }
    return result;
  }

  template <typename T>
  const T* Bring(const std::vector<T>& values) {
    auto& arrays = std::get<std::vector<DeviceArray<T>>>(arrays_);
    return arrays.emplace_back(std::span<const T>(values)).get();
  }

  static std::vector<float> Run(FewRowsProduct product) {
    DeviceArray<float> y(int64_t{product.rows} * product.outputs);
    y.FillBytes(0xff);
    product.y = y.get();
    RunFewRows(product, nullptr);
    return y.Read();
  }

  FewRowsProduct Product(const std::vector<uint16_t>& weights, const std::vector<uint16_t>& x,
                         int inputs) {
    FewRowsProduct product;
    product.weights = Bring(weights);
    product.x = Bring(x);
    product.pitch = PitchOf(inputs);
    product.outputs = static_cast<int>(std::ssize(weights) / product.pitch);
    product.rows = static_cast<int>(std::ssize(x) / product.pitch);
    return product;
  }

 private:
  std::mt19937_64 random_{5};
  std::tuple<std::vector<DeviceArray<uint16_t>>, std::vector<DeviceArray<float>>> arrays_;
};

// Some have more tiles than blocks run at once, some fewer inputs than a block has warps for.
TEST_F(FewRowsCuda, ProductsAreThoseOfTheHost) {
  const int shapes[][2] = {{16, 32},   {1, 5},      {300, 77},   {4096, 1024}, {7000, 96},
                           {9999, 64}, {20000, 33}, {40, 14336}, {515, 1025},  {24, 4000}};
  for (const auto& [outputs, inputs] : shapes) {
    for (const int rows : {1, 3, 8}) {
      const auto weights = Rows(outputs, inputs), x = Rows(rows, inputs);
      const auto y = Run(Product(weights, x, inputs));
      const int pitch = PitchOf(inputs);
      double error = 0, norm = 0;
      for (int row = 0; row < rows; ++row) {
        for (int output = 0; output < outputs; ++output) {
          double sum = 0;
          for (int i = 0; i < inputs; ++i) {
            sum += Widened(weights[int64_t{output} * pitch + i]) * Widened(x[row * pitch + i]);
          }
          error += std::pow(sum - y[int64_t{row} * outputs + output], 2);
          norm += sum * sum;
        }
      }
      EXPECT_LE(std::sqrt(error / norm), 1e-5) << outputs << " x " << inputs << ", " << rows;
    }
  }
}

TEST_F(FewRowsCuda, FloatsAreRoundedAsOneByOne) {
  const int shapes[][2] = {{4096, 4096}, {300, 96}, {9000, 2048}, {40, kMostFloats}};
  for (const auto& [outputs, inputs] : shapes) {
    for (const int rows : {1, 3, 8}) {
      if (rows * inputs > kMostFloats) continue;
      const auto floats = Floats(int64_t{rows} * inputs);
      std::vector<uint16_t> x;
      for (const float each : floats) x.push_back(Bits(each));
      FewRowsProduct product = Product(Rows(outputs, inputs), x, inputs);
      const auto expected = Run(product);
      product.x = nullptr;
      product.floats = Bring(floats);
      EXPECT_EQ(Run(product), expected) << outputs << " x " << inputs << ", " << rows;
    }
  }
}

// Gates from far below zero, where silu is 0, to far above.
TEST_F(FewRowsCuda, GatedRowsAreThoseOfTwoKernels) {
  const int shapes[][2] = {{5, 77}, {176, 1024}, {3000, 40}, {14336, 64}, {1000, 4096}};
  for (const auto& [columns, inputs] : shapes) {
    for (const int rows : {1, 5, 8}) {
      const float scale = 20 / std::sqrt(static_cast<float>(inputs));
      FewRowsProduct product =
          Product(Rows(2 * columns, inputs, scale), Rows(rows, inputs), inputs);
      const int64_t pitch = PitchOf(columns);
      DeviceArray<float> out(int64_t{rows} * columns);
      DeviceArray<uint16_t> expected(rows * pitch), actual(rows * pitch);
      actual.FillBytes(0xff);
      const float* gate_up = Bring(Run(product));
      SiluMul({gate_up, out.get(), {expected.get(), pitch}, rows, columns}, nullptr);
      product.outputs = columns;
      product.gated = {actual.get(), pitch};
      const auto y = Run(product);
      EXPECT_EQ(y, out.Read()) << columns << " x " << inputs << ", " << rows;
      EXPECT_EQ(actual.Read(), expected.Read()) << columns << " x " << inputs << ", " << rows;
    }
  }
}

}  // namespace
}  // namespace headlong::cuda
