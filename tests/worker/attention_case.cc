#include "tests/worker/attention_case.h"

#include <cstring>
#include <limits>
#include <span>

#include "tests/support/stored_row.h"
#include "tests/worker/coded_rows.h"

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

void Cases::StoreAs(Storage keys, Storage values, Case& c) {
  c.storage = keys;
  c.value_storage = values;
  c.keys = reference::StoredRow(c.keys, StorageName(keys));
  c.values = reference::StoredRow(c.values, StorageName(values));
}

void Cases::Shorten(int key_dims, int value_dims, Case& c) {
  c.keys = FirstNumbers(c.keys, c.head_dim, key_dims);
  c.mean_key = FirstNumbers(c.mean_key, c.head_dim, key_dims);
  c.values = FirstNumbers(c.values, c.head_dim, value_dims);
  c.mean_value = FirstNumbers(c.mean_value, c.head_dim, value_dims);
  c.key_dims = key_dims;
  c.value_dims = value_dims;
}

Result Reference(const Case& c) {
  Result result;
  const int d = c.head_dim;
  for (int r = 0; r < c.rows; ++r) {
    std::vector<double> logits, out(d, 0.0);
    std::vector<const float*> values;
    const int64_t position = c.first_position + r / c.group;
    const auto score = [&](const float* key) {
      double dot = 0;
      for (int i = 0; i < c.key_dims; ++i) dot += double{c.q[r * d + i]} * key[i];
      return dot * c.scale;
    };
    for (const auto& [begin, end] : c.runs) {
      for (int64_t j = begin; j < end; ++j) {
        if (c.positions[j] > position) continue;
        const double slope = c.slopes.empty() ? 0 : c.slopes[r % c.group];
        logits.push_back(score(&c.keys[j * c.key_dims]) -
                         slope * static_cast<double>(position - c.positions[j]));
        values.push_back(&c.values[j * c.value_dims]);
      }
    }
    if (c.compensates) {
      logits.push_back(score(c.mean_key.data()) + c.log_count);
      values.push_back(c.mean_value.data());
    }
    double peak = -std::numeric_limits<double>::infinity(), total = 0;
    for (double logit : logits) peak = std::max(peak, logit);
    for (size_t j = 0; j < logits.size(); ++j) {
      const double weight = std::exp(logits[j] - peak);
      total += weight;
      for (int i = 0; i < c.value_dims; ++i) out[i] += weight * values[j][i];
    }
    for (double& x : out) x = logits.empty() ? 0 : x / total;
    result.out.insert(result.out.end(), out.begin(), out.end());
    result.lse.push_back(logits.empty() ? -std::numeric_limits<double>::infinity()
                                        : peak + std::log(total));
  }
  return result;
}

Result RunTile(const Case& c, Isa isa) {
  const int d = c.head_dim;
  // Unaligned on purpose, and just as long as they must be: a sanitizer sees a read past the end.
  const auto stored = [](const std::vector<float>& from, Storage type) {
    const int bytes = ElementBytes(type);
    std::vector<std::byte> to(from.size() * bytes);
    for (size_t i = 0; i < from.size(); ++i) {
      std::byte number[sizeof(float)];
      EncodeRow(&from[i], {type, 1}, {number});
      std::memcpy(&to[i * bytes], number, bytes);
    }
    return to;
  };
  // Each run in memory of its own, as pages are.
  std::vector<std::vector<std::byte>> memory;
  std::vector<AttentionRun> runs;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto [begin, end] = c.runs[i];
    AttentionRun run;
    run.count = end - begin;
    const auto place = [&](const std::vector<float>& numbers, const std::vector<float>& raw,
                           const RowFormat& format, Storage plain) {
      const int dims = format.dims;
      if (IsCoded(format.type) && i >= c.plain_runs) return Coded(raw, format, c.runs[i], memory);
      memory.push_back(
          stored({numbers.begin() + begin * dims, numbers.begin() + end * dims}, plain));
      return Row{memory.back().data()};
    };
    if (run.count > 0) {
      run.position = c.positions[begin];
      const Row keys = place(c.keys, c.raw_keys, {c.key_codes, c.key_dims}, c.storage);
      const Row values =
          place(c.values, c.raw_values, {c.value_codes, c.value_dims}, c.value_storage);
      run.keys = keys.codes;
      run.key_scales = keys.scales;
      run.values = values.codes;
      run.value_scales = values.scales;
    }
    runs.push_back(run);
  }
  std::vector<float> out(c.rows * d, NAN), lse(c.rows, NAN);
  AttentionTile tile;
  tile.q = c.q.data();
  tile.q_stride = tile.out_stride = c.group * d;
  tile.rows = c.rows;
  tile.group = c.group;
  tile.head_dim = d;
  tile.key_dims = c.key_dims;
  tile.value_dims = c.value_dims;
  tile.first_position = c.first_position;
  tile.scale = c.scale;
  tile.key_plain = c.storage;
  tile.value_plain = c.value_storage;
  tile.key_codes = c.key_codes;
  tile.value_codes = c.value_codes;
  tile.slopes = c.slopes.empty() ? nullptr : c.slopes.data();
  tile.runs = runs;
  if (c.compensates) {
    tile.compensation = {c.mean_key.data(), c.mean_value.data(), c.log_count};
  }
  tile.out = out.data();
  tile.lse = lse.data();
  AttendTileFor(isa)(tile, ThreadTileScratch());
  Result result;
  result.out.assign(out.begin(), out.end());
  result.lse.assign(lse.begin(), lse.end());
  return result;
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
