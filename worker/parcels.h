// What each of several workers has for each other one, sent once, through host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/huge_array.h"
#include "worker/collective.h"

namespace headlong {

struct Parcel {
  int64_t size = 0;  // bytes
  HugeArray<std::byte> bytes;
};

struct Parcels {
  std::vector<Parcel> out;  // by rank; the own one stays where it is
  std::vector<Parcel> in;   // by rank, sizes as the others' `out`
  bool ready = false;       // this rank can take part: its memory is there
};

// Every rank calls it once. True: all parcels are where they belong. False, on every rank alike:
// some rank was not ready, nothing was sent. UNAVAILABLE when a rank vanished. `progress` is called
// now and then.
absl::StatusOr<bool> ExchangeParcels(const GlooOptions& options, Rendezvous& rendezvous,
                                     Parcels& parcels, const std::function<void()>& progress);

}  // namespace headlong
