// write_seeds FOLDER: the seeds of every target as files FOLDER/TARGET/N, for libFuzzer.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/seeds.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_seeds FOLDER\n");
    return 2;
  }
  for (const std::string& target : headlong::FuzzTargets()) {
    const std::filesystem::path folder = std::filesystem::path(argv[1]) / target;
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const std::string& seed : headlong::FuzzSeeds(target)) {
      std::ofstream file(folder / ("seed" + std::to_string(number++)), std::ios::binary);
      file << seed;
      if (!file.flush().good()) {
        std::fprintf(stderr, "%s: cannot be written\n", folder.c_str());
        return 1;
      }
    }
  }
  return 0;
}
