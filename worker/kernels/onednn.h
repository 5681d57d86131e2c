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

  void Run(const dnnl::memory& x, const dnnl::memory& w, const dnnl::memory& y,
           const dnnl::stream& stream) const {
    const dnnl::memory scratch(scratchpad, CpuEngine(),
                               Scratch<Use::kOneDnn, std::byte>(scratchpad.get_size()));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, x.get()},
                                         {DNNL_ARG_WEIGHTS, w.get()},
                                         {DNNL_ARG_DST, y.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratch.get()}};
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive.get(), stream.get(), std::size(arguments), arguments),
        "matmul");
  }

  dnnl::matmul primitive;
  dnnl::memory::desc weights;
  dnnl::memory::desc scratchpad;
  std::string_view name;  // of the implementation; lives for ever
};

}  // namespace headlong::cpu
