// What our products share of oneDNN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"

namespace headlong::cpu {

inline const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

enum class Use { kRounded, kPaired, kResult, kWidened, kOneDnn };

// Memory of the calling thread that grows to the largest product it has seen.
template <Use, typename T>
T* Scratch(int64_t count) {
  thread_local std::vector<T> scratch;
  if (static_cast<int64_t>(scratch.size()) < count) scratch.resize(count);
  return scratch.data();
}

inline dnnl::memory::desc RowMajor(int64_t rows, int64_t columns, dnnl::memory::data_type type) {
  return dnnl::memory::desc({rows, columns}, type, dnnl::memory::format_tag::ab);
}

inline dnnl::memory::desc Strided(int64_t rows, int64_t columns, int64_t stride) {
  return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::f32,
                            dnnl::memory::dims{stride, 1});
}

// A compiled product of `rows` rows (may be a run-time value) with weights in layout `weights`.
struct MatMul {
  // Rows of the result are `stride` floats apart.
  static MatMul Create(dnnl::memory::dim rows, dnnl::memory::data_type source,
                       const dnnl::memory::desc& weights, int64_t stride) {
    const int64_t inputs = weights.data.dims[0], outputs = weights.data.dims[1];
    const dnnl::matmul::desc desc(RowMajor(rows, inputs, source), weights,
                                  Strided(rows, outputs, stride));
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc chosen(desc, attr, CpuEngine());
    return {dnnl::matmul(chosen), chosen.weights_desc(), chosen.scratchpad_desc(),
            chosen.impl_info_str()};
  }

  struct Operands {
    dnnl_memory_t x, weights, y, scratch;
  };

  void Run(const Operands& of, const dnnl::stream& stream) const {
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, of.x},
                                         {DNNL_ARG_WEIGHTS, of.weights},
                                         {DNNL_ARG_DST, of.y},
                                         {DNNL_ARG_SCRATCHPAD, of.scratch}};
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), std::size(arguments), arguments),
        "matmul");
  }

  dnnl::matmul primitive;
  dnnl::memory::desc weights;
  dnnl::memory::desc scratchpad;
  std::string_view name;  // of the implementation; lives for ever
};

// A product of a fixed row count with contiguous results, and the descriptions of its operands,
// which cost more than a small product when they are made for every call.
struct FixedMatMul {
  static FixedMatMul Create(int rows, const dnnl::memory::desc& weights) {
    FixedMatMul made;
    const int64_t inputs = weights.data.dims[0], outputs = weights.data.dims[1];
    made.product = MatMul::Create(rows, dnnl::memory::data_type::bf16, weights, outputs);
    made.x = dnnl::memory(RowMajor(rows, inputs, dnnl::memory::data_type::bf16), CpuEngine(),
                          DNNL_MEMORY_NONE);
    made.y = dnnl::memory(RowMajor(rows, outputs, dnnl::memory::data_type::f32), CpuEngine(),
                          DNNL_MEMORY_NONE);
    made.scratch = dnnl::memory(made.product.scratchpad, CpuEngine(), DNNL_MEMORY_NONE);
    return made;
  }

  // One caller at a time.
  void Run(uint16_t* from, const dnnl::memory& weights, float* to, const dnnl::stream& stream) {
    x.set_data_handle(from);
    y.set_data_handle(to);
    scratch.set_data_handle(
        Scratch<Use::kOneDnn, std::byte>(static_cast<int64_t>(product.scratchpad.get_size())));
    product.Run({x.get(), weights.get(), y.get(), scratch.get()}, stream);
  }

  MatMul product;
  dnnl::memory x, y, scratch;
};

}  // namespace headlong::cpu
