#include "tests/worker/cuda/decode_batch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>

#include "tests/support/stored_row.h"
#include "worker/kernels/device_array.h"

namespace headlong::cuda {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

int Bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

void Store(float x, ElementType type, std::byte* to) {
  const __nv_bfloat16 bfloat16 = __float2bfloat16_rn(x);
  const __half float16 = __float2half_rn(x);
  switch (type) {
    case ElementType::kFloat32:
      std::memcpy(to, &x, 4);
      break;
    case ElementType::kBfloat16:
      std::memcpy(to, &bfloat16, 2);
      break;
    case ElementType::kFloat16:
      std::memcpy(to, &float16, 2);
      break;
  }
}

std::vector<std::byte> Stored(const std::vector<float>& values, ElementType type) {
  std::vector<std::byte> stored(values.size() * Bytes(type));
  for (size_t i = 0; i < values.size(); ++i) Store(values[i], type, &stored[i * Bytes(type)]);
  return stored;
}

// First kept position of the window, as DESIGN defines it.
int64_t Lo(const LaneRule& rule, int64_t m) {
  if (rule.full) return 0;
  const double blocks = std::floor(static_cast<double>(m + 1 - rule.window) / rule.block_tokens);
  return std::max<int64_t>(rule.sinks, static_cast<int64_t>(blocks) * rule.block_tokens);
}

// Memory of all lanes: pages of each in an order of its own, between pages that are nobody's.
class Pages {
 public:
  Pages(const TestBatch& batch, std::mt19937_64& random) : batch_(batch) {
    for (const TestLane& lane : batch.lanes) Add(lane, random);
    memory_ = DeviceArray<std::byte>(blocks_);
    ids_ = DeviceArray<int32_t>(all_ids_);
    sums_ = DeviceArray<float>(all_sums_);
    sinks_ = DeviceArray<std::byte>(all_sinks_);
    const int64_t sums_per_lane = 2 * batch.shape.head_dim;
    for (size_t i = 0; i < lanes_.size(); ++i) {
      lanes_[i].pages = memory_.get() + reinterpret_cast<intptr_t>(lanes_[i].pages);
      lanes_[i].page_ids = ids_.get() + id_begin_[i];
      lanes_[i].dropped_sums = sums_.get() + i * sums_per_lane;
      lanes_[i].query = static_cast<int32_t>(i) * batch.shape.group;
      if (lanes_[i].sink_end > 0) lanes_[i].sinks = sinks_.get() + sink_begin_[i];
    }
  }

  const std::vector<DecodeLane>& lanes() const { return lanes_; }

 private:
  void Add(const TestLane& lane, std::mt19937_64& random) {
    const int d = batch_.shape.head_dim, element = Bytes(batch_.shape.type);
    const int page_tokens = lane.rule.page_tokens();
    DecodeLane described;
    described.page_shift = page_tokens == 64 ? 6 : 4;
    if (lane.length > 0) SetKept(lane.rule, lane.length, described);
    const HeldPages held = HeldPagesAt(lane.rule, lane.length);
    const bool plain = batch_.shape.plain;
    const LaneFormat& format = lane.format;
    const int64_t row = int64_t{d} * element;
    const int64_t half = page_tokens * (plain ? row : format.keys.bytes());
    const int64_t lane_bytes = plain ? 2 * half : page_tokens * format.token_bytes();
    described.page_stride = 3 * lane_bytes;  // three lanes to a page, this is the middle one
    if (!plain) AddSinks(lane, described);
    std::vector<int32_t> ids(held.count() + 3);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    std::shuffle(ids.begin(), ids.end(), random);
    std::vector<std::byte> memory(ids.size() * described.page_stride, std::byte{0xff});
    const int64_t lo = Lo(lane.rule, lane.length - 1);
    for (int64_t position = 0; position < lane.length; ++position) {
      if (position >= lane.rule.sinks && position < lo) continue;
      const int64_t number = position / page_tokens;
      const int64_t place =
          number < held.sink_end ? number : number - held.window_begin + held.sink_end;
      std::byte* page = &memory[ids[place] * described.page_stride + lane_bytes];
      if (!plain) {
        const int64_t slot = position % page_tokens;
        EncodeRow(&lane.raw_keys[position * d], format.keys,
                  RowsIn(page, format.keys, page_tokens).At(format.keys, slot));
        EncodeRow(&lane.raw_values[position * d], format.values,
                  RowsIn(page + half, format.values, page_tokens).At(format.values, slot));
        continue;
      }
      std::byte* to = page + position % page_tokens * row;
      for (int i = 0; i < d; ++i) {
        Store(lane.keys[position * d + i], batch_.shape.type, to + i * element);
        Store(lane.values[position * d + i], batch_.shape.type, to + half + i * element);
      }
    }
    described.pages = reinterpret_cast<const std::byte*>(bytes_ + lane_bytes);
    AddSums(lane, lo);
    id_begin_.push_back(all_ids_.size());
    all_ids_.insert(all_ids_.end(), ids.begin(), ids.end());
    lanes_.push_back(described);
    blocks_.insert(blocks_.end(), memory.begin(), memory.end());
    bytes_ = static_cast<int64_t>(blocks_.size());
  }

  void AddSinks(const TestLane& lane, DecodeLane& described) {
    const LaneFormat& format = lane.format;
    const int d = batch_.shape.head_dim;
    described.key_dims = static_cast<int16_t>(format.keys.dims);
    described.value_dims = static_cast<int16_t>(format.values.dims);
    if (lane.length > 0) SetSinks(lane.rule, lane.length, format.sinks, described);
    const int64_t begin = static_cast<int64_t>(all_sinks_.size());
    sink_begin_.push_back(begin);
    all_sinks_.resize(begin + format.sink_bytes(), std::byte{0xff});
    const Row keys{&all_sinks_[begin], nullptr};
    const Row values{keys.codes + format.sinks * format.sink_keys().bytes(), nullptr};
    for (int64_t i = 0; i < std::min(format.sinks, lane.length); ++i) {
      EncodeRow(&lane.raw_keys[i * d], format.sink_keys(), keys.At(format.sink_keys(), i));
      EncodeRow(&lane.raw_values[i * d], format.sink_values(), values.At(format.sink_values(), i));
    }
  }

  void AddSums(const TestLane& lane, int64_t lo) {
    const int d = batch_.shape.head_dim;
    const int keys = batch_.shape.plain ? d : lane.format.keys.dims;
    const int values = batch_.shape.plain ? d : lane.format.values.dims;
    std::vector<double> sums(2 * d, 0.0);  // how well sums are kept is tested elsewhere
    for (int64_t position = lane.rule.sinks; position < lo; ++position) {
      for (int i = 0; i < keys; ++i) sums[i] += lane.keys[position * d + i];
      for (int i = 0; i < values; ++i) sums[keys + i] += lane.values[position * d + i];
    }
    all_sums_.insert(all_sums_.end(), sums.begin(), sums.end());
  }

  const TestBatch& batch_;
  std::vector<DecodeLane> lanes_;
  std::vector<std::byte> blocks_;
  std::vector<int32_t> all_ids_;
  std::vector<size_t> id_begin_;
  std::vector<float> all_sums_;
  int64_t bytes_ = 0;
  std::vector<std::byte> all_sinks_;
  std::vector<int64_t> sink_begin_;
  DeviceArray<std::byte> memory_, sinks_;
  DeviceArray<int32_t> ids_;
  DeviceArray<float> sums_;
};

void AddReferenceRow(const TestBatch& batch, const TestLane& lane, int head, DecodeResult& result) {
  const int d = batch.shape.head_dim;
  const int64_t m = lane.length - 1, lo = Lo(lane.rule, m);
  std::vector<double> logits, mean_key(d, 0.0), mean_value(d, 0.0), out(d, 0.0);
  std::vector<std::vector<double>> values;
  const auto add = [&](const auto* key, const auto* value, double bias) {
    double dot = 0;
    for (int i = 0; i < d; ++i) dot += double{lane.q[head * d + i]} * key[i];
    logits.push_back(dot * batch.scale + bias);
    values.emplace_back(value, value + d);
  };
  for (int64_t p = 0; p <= m; ++p) {
    const float *key = &lane.keys[p * d], *value = &lane.values[p * d];
    if (p < lane.rule.sinks || p >= lo) {
      add(key, value, 0);
      continue;
    }
    for (int i = 0; i < d; ++i) {
      mean_key[i] += key[i] / static_cast<double>(lo - lane.rule.sinks);
      mean_value[i] += value[i] / static_cast<double>(lo - lane.rule.sinks);
    }
  }
  if (lane.rule.compensates() && lo > lane.rule.sinks && m >= 0) {
    add(mean_key.data(), mean_value.data(), std::log(static_cast<double>(lo - lane.rule.sinks)));
  }
  double peak = -kInfinity, total = 0;
  for (const double logit : logits) peak = std::max(peak, logit);
  for (size_t j = 0; j < logits.size(); ++j) {
    const double weight = std::exp(logits[j] - peak);
    total += weight;
    for (int i = 0; i < d; ++i) out[i] += weight * values[j][i];
  }
  for (const double x : out) result.out.push_back(logits.empty() ? 0 : x / total);
  result.lse.push_back(logits.empty() ? -kInfinity : peak + std::log(total));
}

}  // namespace

LaneRule FullRule() {
  LaneRule rule;
  rule.compensation = Compensation::kNone;
  return rule;
}

LaneRule LocalRule(int64_t sinks, int64_t window, Compensation compensation) {
  LaneRule rule;
  rule.full = false;
  rule.sinks = sinks;
  rule.window = window;
  rule.compensation = compensation;
  return rule;
}

float Rounded(float x, ElementType type) {
  if (type == ElementType::kFloat32) return x;
  return type == ElementType::kBfloat16 ? __bfloat162float(__float2bfloat16_rn(x))
                                        : __half2float(__float2half_rn(x));
}

std::vector<float> Batches::Floats(int64_t n, ElementType type, float size) {
  std::vector<float> v(n);
  for (float& x : v) {  // four uniform numbers: near enough to normal, and fast
    const uint64_t bits = random_();
    float sum = -2;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(bits >> (16 * i) & 0xffff) / 65536;
    x = Rounded(sum * 1.7f * size, type);
  }
  return v;
}

TestLane Batches::Lane(const DecodeShape& shape, const LaneRule& rule, int64_t length) {
  TestLane lane;
  lane.rule = rule;
  lane.length = length;
  lane.keys = Floats(length * shape.head_dim, shape.type);
  lane.values = Floats(length * shape.head_dim, shape.type);
  lane.q = Floats(int64_t{shape.group} * shape.head_dim, shape.type);
  if (shape.plain) return lane;
  const Storage own = StorageOf(shape.type);
  const auto dims = [&] {
    return Int(0, 1) == 0 ? shape.head_dim : 16 * Int(1, shape.head_dim / 16);
  };
  const int64_t sinks[] = {0, 4, 20, 40};
  lane.format = {
      {shape.keys, dims()}, {shape.values, dims()}, own, rule.full ? sinks[Int(0, 3)] : rule.sinks};
  lane.raw_keys = Floats(length * shape.head_dim, ElementType::kFloat32);
  lane.raw_values = Floats(length * shape.head_dim, ElementType::kFloat32);
  Store(shape, lane);
  return lane;
}

void Batches::Store(const DecodeShape& shape, TestLane& lane) {
  const int d = shape.head_dim;
  const auto store = [&](const std::vector<float>& raw, const RowFormat& format,
                         std::vector<float>& stored) {
    stored.assign(raw.size(), 0);
    for (int64_t p = 0; p < lane.length; ++p) {
      const Storage type = p < lane.format.sinks ? lane.format.own : format.type;
      const auto row =
          reference::StoredRow(std::span(raw).subspan(p * d, format.dims), StorageName(type));
      std::ranges::copy(row, stored.begin() + p * d);
    }
  };
  store(lane.raw_keys, lane.format.keys, lane.keys);
  store(lane.raw_values, lane.format.values, lane.values);
}

LaneRule Batches::Rule() {
  if (Int(0, 1) == 0) return FullRule();
  const int64_t sinks[] = {0, 1, 4, 16, 20, 40}, windows[] = {1, 16, 33, 64, 256, 1000};
  return LocalRule(sinks[Int(0, 5)], windows[Int(0, 5)],
                   Int(0, 3) == 0 ? Compensation::kNone : Compensation::kMean);
}

TestBatch Batches::Make(const DecodeShape& shape, int lanes, int longest) {
  TestBatch batch;
  batch.shape = shape;
  batch.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  for (int i = 0; i < lanes; ++i) {
    batch.lanes.push_back(Lane(shape, Rule(), Int(0, 2) == 0 ? Int(1, longest) : Int(1, 150)));
  }
  return batch;
}

DecodeResult Reference(const TestBatch& batch) {
  DecodeResult result;
  for (const TestLane& lane : batch.lanes) {
    for (int head = 0; head < batch.shape.group; ++head) AddReferenceRow(batch, lane, head, result);
  }
  return result;
}

DecodeResult RunDecode(const TestBatch& batch, int ctas) {
  std::mt19937_64 random(batch.lanes.size());
  const Pages pages(batch, random);
  std::vector<float> q;
  for (const TestLane& lane : batch.lanes) q.insert(q.end(), lane.q.begin(), lane.q.end());
  const DeviceArray<std::byte> device_q(Stored(q, batch.shape.type));
  const int device_ctas = PrepareDecode(batch.shape);
  if (device_ctas == 0) return {};
  DecodePlan plan;
  PlanDecode(pages.lanes(), ctas > 0 ? ctas : device_ctas, plan);
  const int64_t rows = std::ssize(batch.lanes) * batch.shape.group;
  DeviceArray<float> out(rows * batch.shape.head_dim), lse(rows);
  DeviceArray<float> part_out(int64_t{plan.parts} * batch.shape.group * batch.shape.head_dim);
  DeviceArray<float> part_lse(int64_t{plan.parts} * batch.shape.group);
  for (DeviceArray<float>* memory : {&out, &lse, &part_out, &part_lse}) memory->FillBytes(0xff);
  const DeviceArray<DecodeItem> items(plan.items);
  const DeviceArray<int32_t> cta_items(plan.cta_items);
  const DeviceArray<DecodeMerge> merges(plan.merges);
  DecodeAttention decode;
  decode.shape = batch.shape;
  decode.scale = batch.scale;
  decode.q = device_q.get();
  decode.out = out.get();
  decode.lse = lse.get();
  decode.items = items.get();
  decode.cta_items = cta_items.get();
  decode.ctas = static_cast<int>(plan.cta_items.size()) - 1;
  decode.merges = merges.get();
  decode.merge_count = static_cast<int>(plan.merges.size());
  decode.part_out = part_out.get();
  decode.part_lse = part_lse.get();
  CheckCuda(LaunchDecode(decode, nullptr), "launching");
  CheckCuda(cudaDeviceSynchronize(), "attention");
  const std::vector<float> got_out = out.Read(), got_lse = lse.Read();
  return {{got_out.begin(), got_out.end()}, {got_lse.begin(), got_lse.end()}};
}

std::string Difference(const DecodeResult& expected, const DecodeResult& got, ElementType type) {
  if (got.out.size() != expected.out.size()) return "another number of outputs";
  // Probabilities are rounded to the caches' type before they weigh values.
  const double out_tolerance = type == ElementType::kFloat32    ? 2e-5
                               : type == ElementType::kBfloat16 ? 6e-3
                                                                : 8e-4;
  constexpr double kLseTolerance = 2e-5;
  double largest = 1;
  for (const double x : expected.out) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < expected.out.size(); ++i) {
    if (!(std::abs(expected.out[i] - got.out[i]) <= out_tolerance * largest)) {
      return "out[" + std::to_string(i) + "] is " + std::to_string(got.out[i]) + ", not " +
             std::to_string(expected.out[i]);
    }
  }
  for (size_t r = 0; r < expected.lse.size(); ++r) {
    if (expected.lse[r] == got.lse[r]) continue;  // also -inf
    if (!(std::abs(expected.lse[r] - got.lse[r]) <=
          kLseTolerance * std::max(1.0, std::abs(expected.lse[r])))) {
      return "lse[" + std::to_string(r) + "] is " + std::to_string(got.lse[r]) + ", not " +
             std::to_string(expected.lse[r]);
    }
  }
  return "";
}

std::string Describe(const TestBatch& batch, int ctas) {
  const char* types[] = {"fp32", "bf16", "fp16"};
  std::ostringstream text;
  text << types[static_cast<int>(batch.shape.type)] << " head_dim " << batch.shape.head_dim
       << " group " << batch.shape.group;
  if (!batch.shape.plain) {
    text << ' ' << StorageName(batch.shape.keys) << '/' << StorageName(batch.shape.values);
  }
  text << " ctas " << ctas << " lanes";
  for (const TestLane& lane : batch.lanes) {
    text << ' ' << lane.length;
    if (!lane.rule.full) text << '(' << lane.rule.sinks << '+' << lane.rule.window << ')';
    if (batch.shape.plain) continue;
    text << '[' << lane.format.keys.dims << ',' << lane.format.values.dims << ','
         << lane.format.sinks << ']';
  }
  return text.str();
}

}  // namespace headlong::cuda
