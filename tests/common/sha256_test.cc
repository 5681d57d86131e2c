#include "common/sha256.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace headlong {
namespace {

std::string Digest(const std::vector<std::string>& pieces) {
  Sha256 hash;
  for (const std::string& piece : pieces) hash.Update(piece);
  return hash.HexDigest();
}

// The vectors of FIPS 180-4.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(Digest({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Digest({"abc"}), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest({std::string(1'000'000, 'a')}),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesAreOneText) {
  EXPECT_EQ(Digest({"a", "", "bc"}), Digest({"abc"}));
  EXPECT_NE(Digest({"abd"}), Digest({"abc"}));
  EXPECT_NE(Digest({std::string("ab\0", 3)}), Digest({"ab"}));
}

}  // namespace
}  // namespace headlong
