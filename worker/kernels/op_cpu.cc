#include "worker/kernels/op_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "worker/kernels/op_rows.h"
#include "worker/kernels/thread_team.h"

namespace headlong::cpu {
namespace {

// Waking the other threads costs some microseconds; below this many floats one thread is done
// first.
constexpr int64_t kFloatsWorthThreads = 64 * 1024;

// Calls row(r) for every r, on all threads where there is enough to do.
template <typename Row>
void ForRows(int64_t rows, int64_t floats_per_row, const Row& row) {
  if (rows < 2 || rows * floats_per_row < kFloatsWorthThreads) {
    for (int64_t r = 0; r < rows; ++r) row(r);
    return;
  }
  if (rows <= kTeamRows) return RunPieces(static_cast<int>(rows), row);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) row(r);
}

const RowKernels& Kernels() {
  static const RowKernels& kernels = RowKernelsFor(CurrentIsa());
  return kernels;
}

}  // namespace

const RowKernels& RowKernelsFor(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return avx512::kRowKernels;
  if (isa == Isa::kAvx2) return avx2::kRowKernels;
#endif
  (void)isa;
  return generic::kRowKernels;
}

void RmsNorm(const float* x, const float* weight, int rows, int dim, float eps, float* out) {
  const RowKernels& kernels = Kernels();
  ForRows(rows, dim,
          [&](int64_t r) { kernels.rms_norm(x + r * dim, weight, dim, eps, out + r * dim); });
}

void RmsNormHeads(const HeadRows& rows, const float* weight, float eps) {
  const RowKernels& kernels = Kernels();
  ForRows(rows.rows, int64_t{rows.heads} * rows.dim, [&](int64_t r) {
    float* head = rows.x + r * rows.row_stride;
    for (int h = 0; h < rows.heads; ++h, head += rows.dim) {
      kernels.rms_norm(head, weight, rows.dim, eps, head);
    }
  });
}

void Center(const float* x, int rows, int columns, float* out) {
  ForRows(rows, columns, [&](int64_t r) {
    const float* row = x + r * columns;
    double sum = 0;
    for (int i = 0; i < columns; ++i) sum += row[i];
    const auto mean = static_cast<float>(sum / columns);
    for (int i = 0; i < columns; ++i) out[r * columns + i] = row[i] - mean;
  });
}

void AddBias(float* x, const float* bias, int rows, int columns) {
  const RowKernels& kernels = Kernels();
  ForRows(rows, columns, [&](int64_t r) { kernels.add(x + r * columns, bias, columns); });
}

void RopeTable(const int32_t* positions, int rows, const float* inverse_frequencies, int half,
               float* cos_sin) {
  constexpr int64_t kCostOfAngle = 32;  // one cosine and sine, in floats moved
  ForRows(rows, half * kCostOfAngle, [&](int64_t r) {
    float* cosines = cos_sin + r * 2 * half;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions[r]) * inverse_frequencies[i];
      cosines[i] = std::cos(angle);
      cosines[half + i] = std::sin(angle);
    }
  });
}

void ApplyRope(float* x, int64_t row_stride, int rows, int heads, int half, const float* cos_sin) {
  const RowKernels& kernels = Kernels();
  ForRows(rows, int64_t{2} * heads * half, [&](int64_t r) {
    kernels.rotate(x + r * row_stride, heads, half, cos_sin + r * 2 * half);
  });
}

void MultiplyRow(const float* x, const float* weights, int outputs, int inputs, float* y) {
  Kernels().few_rows_product({x, weights, y, outputs, 1, outputs, inputs});
}

void SiluMul(const float* gate_up, int rows, int columns, float* out) {
  constexpr int64_t kCostOfSilu = 4;  // one element, in floats moved
  const RowKernels& kernels = Kernels();
  ForRows(rows, columns * kCostOfSilu, [&](int64_t r) {
    const float* gate = gate_up + r * 2 * columns;
    kernels.silu_mul(gate, gate + columns, columns, out + r * columns);
  });
}

void Gelu(const float* x, int rows, int columns, float* out) {
  constexpr int64_t kCostOfErf = 16;  // one element, in floats moved
  ForRows(rows, columns * kCostOfErf, [&](int64_t r) {
    for (int64_t i = r * columns; i < (r + 1) * columns; ++i) {
      out[i] = 0.5f * x[i] * (1 + std::erf(x[i] * std::numbers::sqrt2_v<float> / 2));
    }
  });
}

void Add(float* x, const float* y, int64_t n) {
  constexpr int64_t kPiece = 16 * 1024;
  const RowKernels& kernels = Kernels();
  ForRows((n + kPiece - 1) / kPiece, kPiece, [&](int64_t piece) {
    const int64_t begin = piece * kPiece;
    kernels.add(x + begin, y + begin, std::min(kPiece, n - begin));
  });
}

void WidenRow(const uint16_t* x, int64_t n, float* out) { Kernels().widen(x, n, out); }

void StoreRows(const float* x, int64_t row_stride, int rows, int count, Storage storage,
               std::byte* out) {
  const RowKernels& kernels = Kernels();
  ForRows(rows, count, [&](int64_t r) {
    const float* row = x + r * row_stride;
    if (storage == Storage::kFloat32) {
      std::memcpy(out + r * count * sizeof(float), row, count * sizeof(float));
      return;
    }
    const auto round = storage == Storage::kFloat16 ? kernels.round_float16 : kernels.round;
    round(row, count, reinterpret_cast<uint16_t*>(out) + r * count);
  });
}

}  // namespace headlong::cpu
