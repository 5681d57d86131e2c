#include "worker/backend.h"

#include <algorithm>

namespace headlong {

absl::StatusOr<std::unique_ptr<DeviceMatrix>> Backend::LoadStoredMatrix(
    const MatrixSource& source) {
  return LoadMatrix(ToFloats(source).data(), source.outputs, source.inputs);
}

absl::StatusOr<std::unique_ptr<DeviceMatrix>> Backend::LoadStoredEmbedding(
    const MatrixSource& source) {
  return LoadEmbedding(ToFloats(source).data(), source.outputs, source.inputs);
}

void Backend::Fill(const DummyNumbers& numbers, int64_t first_row, int rows, int columns,
                   Activations out) {
  const int64_t count = int64_t{rows} * columns, first = first_row * columns;
  float* const values = static_cast<float*>(out.data);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    values[i] = DummyNumber(numbers, static_cast<uint64_t>(first + i));
  }
}

void Backend::AddRmsNorm(Activations x, Activations y, const DeviceVector& weight, float eps,
                         int rows, Activations out) {
  Add(x, y, rows, x.columns);
  RmsNorm(x, weight, eps, rows, out);
}

void Backend::MatMulSiluMul(DeviceMatrix& weights, Activations x, int rows, Activations gate_up,
                            int columns, Activations out) {
  MatMul(weights, x, rows, gate_up);
  SiluMul(gate_up, rows, columns, out);
}

void Backend::ReadFloats(Activations x, int64_t count, float* out) {
  std::copy_n(static_cast<const float*>(x.data), count, out);
}

void Backend::WriteFloats(const float* values, int64_t count, Activations x) {
  std::copy_n(values, count, static_cast<float*>(x.data));
}

}  // namespace headlong
