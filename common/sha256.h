// SHA-256 over pieces, for fingerprints. Not thread-safe; one owner.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace headlong {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(std::string_view bytes);
  // Lower-case hex of everything so far. REQUIRES: called once.
  std::string HexDigest();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace headlong
