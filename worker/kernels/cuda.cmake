# Finds a CUDA compiler, if there is one, and enables the language. Sets HEADLONG_HAS_CUDA, and
# HEADLONG_HAS_GPU_BACKEND where the headers of cuBLASLt and NCCL are there, too.
# Nothing of CUDA need be installed where the binary runs: its runtime is linked statically and
# finds the driver, or none, when it starts.
set(HEADLONG_CUDA AUTO CACHE STRING "GPU kernels: ON, OFF, or AUTO where a compiler is found")
set(HEADLONG_HAS_CUDA OFF)
set(HEADLONG_HAS_GPU_BACKEND OFF)
if(NOT HEADLONG_CUDA)
  return()
endif()

# Where ./dev setup installs the compiler from PyPI.
file(GLOB HEADLONG_PYPI_CUDA ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/cu13)
find_program(HEADLONG_NVCC nvcc
  HINTS ENV CUDA_HOME
  PATHS /usr/local/cuda/bin ${HEADLONG_PYPI_CUDA}/bin)
if(NOT HEADLONG_NVCC)
  if(HEADLONG_CUDA STREQUAL AUTO)
    message(STATUS "No CUDA compiler: built without GPU kernels")
    return()
  endif()
  message(FATAL_ERROR "HEADLONG_CUDA is ${HEADLONG_CUDA} and there is no nvcc on PATH, in "
    "/usr/local/cuda or in .venv: ./dev setup installs one")
endif()

# PyPI's packages have no lib64, which nvcc looks in.
get_filename_component(toolkit ${HEADLONG_NVCC} DIRECTORY)
get_filename_component(toolkit ${toolkit} DIRECTORY)
if(EXISTS ${toolkit}/lib/libcudart_static.a AND NOT EXISTS ${toolkit}/lib64)
  set(ENV{LIBRARY_PATH} "${toolkit}/lib:$ENV{LIBRARY_PATH}")
  string(APPEND CMAKE_CUDA_FLAGS_INIT " -L${toolkit}/lib")
  link_directories(${toolkit}/lib)
endif()

set(CMAKE_CUDA_COMPILER ${HEADLONG_NVCC})
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Those of this machine's GPUs; Hopper where there is none.
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE capabilities ERROR_QUIET RESULT_VARIABLE failed)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" own "${capabilities}")
  if(failed OR NOT own)
    set(own 9.0)
  endif()
  list(REMOVE_DUPLICATES own)
  list(TRANSFORM own REPLACE "(.+)\\.(.)" "\\1\\2-real")
  list(TRANSFORM own REPLACE "^90-" "90a-")
  set(CMAKE_CUDA_ARCHITECTURES ${own} CACHE STRING "GPU architectures to compile for")
endif()
foreach(architecture ${CMAKE_CUDA_ARCHITECTURES})
  if(NOT architecture MATCHES "^(90a|[0-9]+)(-real|-virtual)?$" OR architecture MATCHES "^90(-|$)")
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES: ${architecture} is none that kernels are "
      "written for: numbers from 80 on, and of Hopper 90a")
  endif()
endforeach()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know it of every nvcc
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(HEADLONG_HAS_CUDA ON)

find_path(HEADLONG_CUBLASLT_INCLUDE cublasLt.h
  HINTS ${toolkit}/include ${HEADLONG_PYPI_CUDA}/include)
find_path(HEADLONG_NCCL_INCLUDE nccl.h
  HINTS ${toolkit}/include ${HEADLONG_PYPI_CUDA}/../nccl/include)
if(HEADLONG_CUBLASLT_INCLUDE AND HEADLONG_NCCL_INCLUDE)
  set(HEADLONG_HAS_GPU_BACKEND ON)
  set(HEADLONG_GPU_INCLUDE_DIRS ${toolkit}/include ${HEADLONG_CUBLASLT_INCLUDE}
    ${HEADLONG_NCCL_INCLUDE})
else()
  message(STATUS "cublasLt.h or nccl.h is missing: GPU kernels are built, but workers compute on "
    "CPUs only (./dev setup installs both)")
endif()
