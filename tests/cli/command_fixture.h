// Whole commands against a server that answers what the test wants: exit codes, stdout, stderr.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "common/json.h"
#include "gtest/gtest.h"
#include "tests/cli/fake_server.h"

namespace headlong {

struct Outcome {
  ExitCode code = ExitCode::kOk;
  std::string out;
  std::string err;
};

inline Outcome RunHeadlong(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"headlong"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Outcome outcome;
  Terminal terminal{TerminalTraits()};
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  outcome.code = RunCommandLine(static_cast<int>(argv.size()), argv.data(), terminal);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

inline Json Parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

class CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetInterrupts();
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("headlong-cli-", getpid());
    std::filesystem::create_directories(folder_);
    for (const char* name :
         {"HEADLONG_SERVER", "HEADLONG_CONTEXT", "HEADLONG_TLS_CA", "HEADLONG_TOKEN_FILE"}) {
      unsetenv(name);
    }
    setenv("HEADLONG_CONFIG", (folder_ / "config.json").c_str(), 1);  // not the tester's own
    server_.inference.generator = [](grpc::ServerContext*, const v1::GenerateRequest& request,
                                     FakeInference::Writer* writer) {
      return Answer(request, "hello", writer);
    };
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    ResetInterrupts();
  }

  Outcome RunOn(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--server", server_.address});
    return RunHeadlong(arguments);
  }
  void Refuse(grpc::StatusCode code, const std::string& message) {
    server_.inference.generator = [=](grpc::ServerContext*, const v1::GenerateRequest&,
                                      FakeInference::Writer*) {
      return grpc::Status(code, message);
    };
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string Read(const std::string& name) {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path folder_;
  FakeServer server_;
};

}  // namespace headlong
