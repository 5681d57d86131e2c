#include "worker/kernels/op_rows.h"

#include "worker/kernels/vector_float16.h"
#include "worker/kernels/vector_math.h"
#include "worker/kernels/vector_pairs.h"

// Nothing but the table leaves this file, and the table's name differs from build to build.
namespace headlong::cpu::HEADLONG_ISA {
namespace {

using Vector = Float<kLanes>;

void RmsNorm(const float* x, const float* weight, int dim, float eps, float* out) {
  Vector sums[4] = {};
  int i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const Vector v = Load<kLanes>(x + i + k * kLanes);
      sums[k] += v * v;
    }
  }
  float sum = HorizontalSum<kLanes>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < dim; ++i) sum += x[i] * x[i];
  const float inverse = 1.0f / __builtin_sqrtf(sum / static_cast<float>(dim) + eps);
#pragma omp simd
  for (int k = 0; k < dim; ++k) out[k] = x[k] * inverse * weight[k];
}

void Rotate(float* x, int heads, int half, const float* cos_sin) {
  const float* sin = cos_sin + half;
  for (int head = 0; head < heads; ++head) {
    float* low = x + int64_t{2} * head * half;
    float* high = low + half;
#pragma omp simd
    for (int i = 0; i < half; ++i) {
      const float a = low[i], b = high[i];
      low[i] = a * cos_sin[i] - b * sin[i];
      high[i] = b * cos_sin[i] + a * sin[i];
    }
  }
}

// gate / (1 + e^-gate) * up. Beyond -86 silu is under 1e-35; the clamp keeps e^-gate finite there.
Vector SiluMulOf(Vector gate, Vector up) {
  const Vector e = Exp<kLanes>(-Max(gate, Splat<kLanes>(-86.0f)));
  return gate / (1.0f + e) * up;
}

void SiluMul(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Store<kLanes>(out + i, SiluMulOf(Load<kLanes>(gate + i), Load<kLanes>(up + i)));
  }
  if (i == n) return;
  Vector last_gate = {}, last_up = {};
  __builtin_memcpy(&last_gate, gate + i, (n - i) * sizeof(float));
  __builtin_memcpy(&last_up, up + i, (n - i) * sizeof(float));
  const Vector last = SiluMulOf(last_gate, last_up);
  __builtin_memcpy(out + i, &last, (n - i) * sizeof(float));
}

void Add(float* x, const float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

template <Half<kLanes> kRound(Vector)>
void Round(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = kRound(Load<kLanes>(x + i));
    __builtin_memcpy(out + i, &bits, sizeof bits);
  }
  if (i == n) return;
  Vector last = {};
  __builtin_memcpy(&last, x + i, (n - i) * sizeof(float));
  const auto bits = kRound(last);
  __builtin_memcpy(out + i, &bits, (n - i) * sizeof(uint16_t));
}

void RoundWide(const float* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto bits = RoundToBfloat16<kLanes>(Load<kLanes>(x + i));
    Store<kLanes>(out + i, Widen<kLanes>(bits));
  }
  if (i == n) return;
  Vector last = {};
  __builtin_memcpy(&last, x + i, (n - i) * sizeof(float));
  last = Widen<kLanes>(RoundToBfloat16<kLanes>(last));
  __builtin_memcpy(out + i, &last, (n - i) * sizeof(float));
}

float AsFloat(float weight) { return weight; }
float AsFloat(uint16_t weight) { return __builtin_bit_cast(float, uint32_t{weight} << 16); }

void WidenRow(const uint16_t* x, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store<kLanes>(out + i, Load<kLanes>(x + i));
  for (; i < n; ++i) out[i] = AsFloat(x[i]);
}

// How many vectors a load of weights makes; bf16: the even and the odd elements of 2 kLanes.
template <typename Weight>
constexpr int kParts = sizeof(float) / sizeof(Weight);

void PairOrder(const float* x, int rows, int inputs, float* out) {
  __builtin_memcpy(out, x, int64_t{rows} * inputs * sizeof(float));
  const int paired = inputs - inputs % (2 * kLanes);
  for (int row = 0; row < rows; ++row) SplitPairs<kLanes>(out + int64_t{row} * inputs, paired);
}

constexpr int kOutputsAtOnce = 4;

// R rows against four outputs: 4 R sums in registers, lanes over the inputs. Fetches the next four
// rows of weights meanwhile, line by line.
template <int R, bool Fetches, typename Weight>
void FourOutputs(const RowKernels::Product<Weight>& p, int row, int output) {
  constexpr int kStep = kParts<Weight> * kLanes;
  const Weight* weights = p.weights + int64_t{output} * p.inputs;
  const Weight* ahead = weights + int64_t{kOutputsAtOnce} * p.inputs;
  const float* x = p.x + int64_t{row} * p.inputs;
  Vector sums[R][kOutputsAtOnce] = {};
  int i = 0;
  for (; i + kStep <= p.inputs; i += kStep) {
    if constexpr (Fetches) {
      for (int k = 0; k < kOutputsAtOnce * kStep; k += 64 / static_cast<int>(sizeof(Weight))) {
        __builtin_prefetch(ahead + int64_t{kOutputsAtOnce} * i + k);
      }
    }
#pragma GCC unroll 2
    for (int part = 0; part < kParts<Weight>; ++part) {
      Vector w[kOutputsAtOnce];
#pragma GCC unroll 4
      for (int o = 0; o < kOutputsAtOnce; ++o) {
        w[o] = LoadPart<kLanes>(weights + int64_t{o} * p.inputs + i, part);
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const Vector v = Load<kLanes>(x + int64_t{r} * p.inputs + i + part * kLanes);
#pragma GCC unroll 4
        for (int o = 0; o < kOutputsAtOnce; ++o) sums[r][o] += v * w[o];
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    Float<4> sum = Sum4<kLanes>(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    for (int k = i; k < p.inputs; ++k) {
      for (int o = 0; o < kOutputsAtOnce; ++o) {
        sum[o] += x[int64_t{r} * p.inputs + k] * AsFloat(weights[int64_t{o} * p.inputs + k]);
      }
    }
    __builtin_memcpy(p.y + (row + r) * p.y_stride + output, &sum, sizeof sum);
  }
}

template <typename Weight>
void OneOutput(const RowKernels::Product<Weight>& p, int row, int output) {
  constexpr int kStep = kParts<Weight> * kLanes;
  const Weight* weights = p.weights + int64_t{output} * p.inputs;
  const float* x = p.x + int64_t{row} * p.inputs;
  Vector sums = {};
  int i = 0;
  for (; i + kStep <= p.inputs; i += kStep) {
    for (int part = 0; part < kParts<Weight>; ++part) {
      sums += Load<kLanes>(x + i + part * kLanes) * LoadPart<kLanes>(weights + i, part);
    }
  }
  float sum = HorizontalSum<kLanes>(sums);
  for (; i < p.inputs; ++i) sum += x[i] * AsFloat(weights[i]);
  p.y[row * p.y_stride + output] = sum;
}

// Returns how many rows it did: as many as registers and what is left allow.
template <bool Fetches, typename Weight>
int SomeRows(const RowKernels::Product<Weight>& p, int row, int output) {
  const int left = p.rows - row;
  if (left == 1) {
    FourOutputs<1, Fetches>(p, row, output);
    return 1;
  }
  if (left == 2 || left == 4) {
    FourOutputs<2, Fetches>(p, row, output);
    return 2;
  }
  FourOutputs<3, Fetches>(p, row, output);
  return 3;
}

template <typename Weight>
void FewRowsProduct(const RowKernels::Product<Weight>& p) {
  int output = 0;
  for (; output + kOutputsAtOnce <= p.outputs; output += kOutputsAtOnce) {
    // The four rows of weights stay in the cache while all rows of x pass.
    int row = SomeRows<true>(p, 0, output);
    while (row < p.rows) row += SomeRows<false>(p, row, output);
  }
  for (; output < p.outputs; ++output) {
    for (int row = 0; row < p.rows; ++row) OneOutput(p, row, output);
  }
}

}  // namespace

extern const RowKernels kRowKernels;
const RowKernels kRowKernels = {RmsNorm,
                                Rotate,
                                SiluMul,
                                Add,
                                Round<RoundToBfloat16<kLanes>>,
                                Round<RoundToFloat16<kLanes>>,
                                RoundWide,
                                WidenRow,
                                PairOrder,
                                FewRowsProduct<float>,
                                FewRowsProduct<uint16_t>};

}  // namespace headlong::cpu::HEADLONG_ISA
