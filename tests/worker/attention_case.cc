#include "tests/worker/attention_case.h"

#include <span>

#include "tests/support/stored_row.h"

namespace headlong::cpu {
namespace {

std::vector<float> FirstNumbers(const std::vector<float>& rows, int from, int to) {
  std::vector<float> result;
  for (size_t at = 0; at < rows.size(); at += from) {
    result.insert(result.end(), rows.begin() + at, rows.begin() + at + to);
  }
  return result;
}

void StoreRow(Storage type, int dims, int64_t row, std::vector<float>& rows) {
  const auto stored =
      reference::StoredRow(std::span(rows).subspan(row * dims, dims), StorageName(type));
  std::copy(stored.begin(), stored.end(), rows.begin() + row * dims);
}

}  // namespace

void Cases::Shorten(int key_dims, int value_dims, Case& c) {
  c.keys = FirstNumbers(c.keys, c.head_dim, key_dims);
  c.mean_key = FirstNumbers(c.mean_key, c.head_dim, key_dims);
  c.values = FirstNumbers(c.values, c.head_dim, value_dims);
  c.mean_value = FirstNumbers(c.mean_value, c.head_dim, value_dims);
  c.key_dims = key_dims;
  c.value_dims = value_dims;
}

void Cases::Code(Storage keys, Storage values, Case& c) {
  c.key_codes = keys;
  c.value_codes = values;
  c.plain_runs = static_cast<size_t>(Int(0, 2));
  c.raw_keys = c.keys;
  c.raw_values = c.values;
  for (size_t run = c.plain_runs; run < c.runs.size(); ++run) {
    for (int64_t row = c.runs[run].first; row < c.runs[run].second; ++row) {
      if (IsCoded(keys)) StoreRow(keys, c.key_dims, row, c.keys);
      if (IsCoded(values)) StoreRow(values, c.value_dims, row, c.values);
    }
  }
}

}  // namespace headlong::cpu
