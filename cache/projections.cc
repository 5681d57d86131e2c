#include "cache/projections.h"

#include <bit>
#include <cmath>
#include <span>
#include <string_view>

#include "common/sha256.h"
#include "common/status.h"

namespace headlong {
namespace {

absl::Status CheckRows(std::span<const float> rows, int head_dim) {
  const auto refuse = [](const std::string& why) { return absl::InvalidArgumentError(why); };
  const auto dims = static_cast<size_t>(head_dim);
  if (rows.size() % dims != 0) {
    return refuse(absl::StrCat(rows.size(), " numbers are no rows of ", head_dim));
  }
  const size_t rank = rows.size() / dims;
  if (rank > dims || rank % kRankStep != 0) {
    return refuse(absl::StrCat("a rank of ", rank, " is no multiple of ", kRankStep,
                               " up to head_dim ", head_dim));
  }
  for (size_t a = 0; a < rank; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      double dot = a == b ? -1 : 0;
      for (size_t i = 0; i < dims; ++i) dot += double{rows[a * dims + i]} * rows[b * dims + i];
      if (std::abs(dot) <= Projections::kOrthonormal) continue;  // false for NaN, too
      return refuse(absl::StrCat("rows ", b, " and ", a, " are not orthonormal"));
    }
  }
  return absl::OkStatus();
}

void UpdateNumbers(std::span<const float> numbers, Sha256& hash) {
  const auto count = static_cast<uint64_t>(numbers.size());
  hash.Update({reinterpret_cast<const char*>(&count), sizeof count});
  hash.Update({reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()});
}

std::string Digest(int head_dim, const Projections::Heads& heads) {
  Sha256 hash;
  hash.Update(absl::StrCat(head_dim));
  for (const auto& [place, head] : heads) {
    hash.Update(absl::StrCat("/", place.first, ".", place.second));
    UpdateNumbers(head.keys, hash);
    UpdateNumbers(head.values, hash);
  }
  return hash.HexDigest();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Projections>> Projections::Create(int head_dim, Heads heads) {
  if (head_dim <= 0) return absl::InvalidArgumentError("projections: head_dim must be positive");
  for (const auto& [place, head] : heads) {
    for (const auto& [side, rows] : {std::pair{"k", &head.keys}, {"v", &head.values}}) {
      RETURN_IF_ERROR(Annotate(
          CheckRows(*rows, head_dim),
          absl::StrCat("projections: layer ", place.first, " head ", place.second, " ", side)));
    }
  }
  std::shared_ptr<Projections> projections(new Projections(head_dim, std::move(heads)));
  projections->digest_ = Digest(head_dim, projections->heads_);
  return projections;
}

const HeadProjections* Projections::find(int layer, int head) const {
  const auto it = heads_.find({layer, head});
  return it == heads_.end() ? nullptr : &it->second;
}

std::vector<float> HadamardRows(int head_dim) {
  const auto dims = static_cast<size_t>(head_dim);
  const size_t block = dims & -dims;  // its lowest bit
  const float one = 1.0f / std::sqrt(static_cast<float>(block));
  std::vector<float> rows(dims * dims, 0.0f);
  for (size_t r = 0; r < dims; ++r) {
    for (size_t i = 0; i < block; ++i) {
      const bool negative = std::popcount(r % block & i) % 2 != 0;
      rows[r * dims + r / block * block + i] = negative ? -one : one;
    }
  }
  return rows;
}

}  // namespace headlong
