// What a backend holds for its callers.
#pragma once

#include <cstdint>

namespace headlong {

// Memory of the backend: activations of max_rows x columns.
struct Activations {
  void* data = nullptr;
  int columns = 0;
};

// A weight matrix or vector of the backend. Empty: no outputs or no inputs.
class DeviceMatrix {
 public:
  virtual ~DeviceMatrix() = default;
  virtual int64_t bytes() const = 0;
};
class DeviceVector {
 public:
  virtual ~DeviceVector() = default;
};

}  // namespace headlong
