// Small damages to an input, for runs of a fuzz target without a fuzzer. Pure: the same generator
// state gives the same damage.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace headlong {

// `input` after one to four damages: bytes changed, ranges cut, repeated or taken from `others`,
// words of JSON put in the place of others.
std::string Mutate(std::string input, const std::vector<std::string>& others,
                   std::mt19937_64& random);

}  // namespace headlong
