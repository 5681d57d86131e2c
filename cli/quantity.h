// Quantities as people write and read them: byte sizes, counts, durations, lists. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace headlong {

// "2GiB", "512 MiB", "1.5G", "4096", "10MB". K, M, G, T and KiB..TiB are powers of 1024; KB..TB of
// 1000. INVALID_ARGUMENT for anything else, and for less than 1 byte or more than 2^60.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

// Comma separated sizes, none empty.
absl::StatusOr<std::vector<int64_t>> ParseByteList(std::string_view text);

// Comma separated integers in [lo, hi].
absl::StatusOr<std::vector<int64_t>> ParseIntegerList(std::string_view text, int64_t lo,
                                                      int64_t hi);

// Comma separated fractions in [0, 1].
absl::StatusOr<std::vector<double>> ParseFractionList(std::string_view text);

// Token ids: a JSON array, or numbers separated by white space. `what` names the source in errors.
absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(std::string_view text, std::string_view what);

std::string FormatBytes(int64_t bytes);      // "1.50 GiB", "17.3 MiB", "612 B"
std::string FormatCount(int64_t count);      // "1,234,567"
std::string FormatMillis(double millis);     // "850 ms", "12.3 s", "3 min 07 s"
std::string FormatPercent(double fraction);  // "11.3 %"

}  // namespace headlong
