// Weights on their way to the GPU: conversion of stored numbers, and numbers in place of files.
// Calls enqueue on `stream` and return.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/dummy_numbers.h"
#include "worker/kernels/decode_cuda.h"

namespace headlong::cuda {

// A block of a matrix: rows x columns, rows `pitch` elements apart.
struct MatrixBlock {
  void* first = nullptr;                     // its element (0, 0)
  ElementType type = ElementType::kFloat32;  // or kBfloat16
  int64_t pitch = 0;
  int64_t rows = 0;
  int64_t columns = 0;
};

// from: device, [rows][columns] of `type`, without gaps.
void ConvertBlock(const void* from, ElementType type, const MatrixBlock& to, cudaStream_t stream);

// A tensor without a file, and where in it the block begins.
struct DummyTensor {
  DummyNumbers numbers;
  int64_t columns = 0;
  int64_t row = 0;
  int64_t column = 0;
};
void FillBlock(const DummyTensor& tensor, const MatrixBlock& to, cudaStream_t stream);

}  // namespace headlong::cuda
