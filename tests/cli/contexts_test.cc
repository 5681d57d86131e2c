// Where a command goes: flags, environment, the user's file, in this order.
#include "cli/contexts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/command_fixture.h"

namespace headlong {
namespace {

using ::testing::HasSubstr;

constexpr char kTwo[] = R"({"current":"prod","contexts":{)"
                        R"("prod":{"server":"10.0.0.1:7000","tls_ca":"/ca","token_file":"/t"},)"
                        R"("lab":{"server":"lab:7000","tls":true}}})";

// `set` are the variables of the environment.
absl::StatusOr<ServerFlags> Resolved(const ServerFlags& flags,
                                     std::map<std::string, std::string> set = {},
                                     const char* text = kTwo) {
  return ResolveServer(
      flags,
      [&](const char* name) {
        const auto found = set.find(name);
        return found == set.end() ? std::string() : found->second;
      },
      [&] { return ParseContexts(text, "f"); });
}

TEST(Contexts, TheCurrentOneIsAsked) {
  const ServerFlags server = Resolved({}).value();
  EXPECT_EQ(server.address, "10.0.0.1:7000");
  EXPECT_EQ(server.files.ca, "/ca");
  EXPECT_EQ(server.token_file, "/t");
  EXPECT_FALSE(server.tls);
}

TEST(Contexts, WithoutAnyItIsThisMachine) {
  EXPECT_EQ(Resolved({}, {}, "{}").value().address, kDefaultServer);
}

TEST(Contexts, FlagsWinFieldByField) {
  ServerFlags flags;
  flags.context = "prod";
  flags.token_file = "/mine";
  const ServerFlags server = Resolved(flags, {{"HEADLONG_SERVER", "env:1"}}).value();
  EXPECT_EQ(server.address, "10.0.0.1:7000") << "--context goes before the environment";
  EXPECT_EQ(server.token_file, "/mine");
  EXPECT_EQ(server.files.ca, "/ca");
}

// A token of the context in use must not go to a server that somebody merely names.
TEST(Contexts, AServerThatIsNamedGetsNothingOfTheFile) {
  ServerFlags flags;
  flags.address = "elsewhere:7000";
  for (const ServerFlags& server :
       {Resolved(flags).value(), Resolved({}, {{"HEADLONG_SERVER", "elsewhere:7000"}}).value()}) {
    EXPECT_EQ(server.address, "elsewhere:7000");
    EXPECT_EQ(server.token_file, "");
    EXPECT_EQ(server.files.ca, "");
  }
  EXPECT_EQ(Resolved(flags, {{"HEADLONG_TLS_CA", "/e"}}).value().files.ca, "/e");
  EXPECT_TRUE(Resolved(flags, {}, "not JSON").ok()) << "the file does not count";
}

TEST(Contexts, TheEnvironmentChoosesAContext) {
  const ServerFlags server = Resolved({}, {{"HEADLONG_CONTEXT", "lab"}}).value();
  EXPECT_EQ(server.address, "lab:7000");
  EXPECT_TRUE(server.tls);
  const auto unknown = Resolved({}, {{"HEADLONG_CONTEXT", "moon"}});
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("moon"));
}

TEST(Contexts, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "f"},
      {R"({"contexts":{"a b":{"server":"h:1"}}})", "a b"},
      {R"({"contexts":{"a":{}}})", "server"},
      {R"({"contexts":{"a":{"server":"h"}}})", "HOST:PORT"},
      {R"({"contexts":{"a":{"server":"h:1","token":"x"}}})", "token"},
      {R"({"contexts":{"a":{"server":"h:1","tls":1}}})", "tls"},
      {R"({"current":"b","contexts":{"a":{"server":"h:1"}}})", "current"},
  };
  for (const auto& [text, named] : cases) {
    const absl::Status status = ParseContexts(text, "f").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(named)) << text;
  }
}

TEST(Contexts, TextAndBack) {
  const Contexts contexts = ParseContexts(kTwo, "f").value();
  const Contexts again = ParseContexts(ContextsJson(contexts).dump(), "f").value();
  EXPECT_EQ(ContextsJson(again).dump(), ContextsJson(contexts).dump());
}

TEST_F(CommandsTest, ConfigAsOneUsesIt) {
  EXPECT_EQ(RunHeadlong({"config", "view"}).out, "current  name  server  TLS  token\n");
  EXPECT_EQ(RunHeadlong({"config", "validate"}).code, ExitCode::kNotFound);
  const Outcome made = RunHeadlong({"config", "set", "here", "--server", server_.address});
  EXPECT_EQ(made.code, ExitCode::kOk) << made.err;
  server_.admin.cluster.set_state("serving");
  EXPECT_EQ(RunHeadlong({"cluster", "status"}).code, ExitCode::kOk) << "the first one is in use";
  const Outcome second =
      RunHeadlong({"config", "set", "moon", "--server", "127.0.0.1:1", "-o", "name"});
  EXPECT_EQ(second.out, "here\nmoon\n");
  EXPECT_EQ(RunHeadlong({"cluster", "status", "--context", "moon"}).code, ExitCode::kUnreachable);
  EXPECT_EQ(RunHeadlong({"config", "use", "moon", "--dry-run"}).code, ExitCode::kOk);
  EXPECT_EQ(Parsed(RunHeadlong({"config", "view", "-o", "json"}).out)["current"], "here");
  EXPECT_EQ(RunHeadlong({"config", "use", "moon"}).code, ExitCode::kOk);
  EXPECT_EQ(RunHeadlong({"cluster", "status"}).code, ExitCode::kUnreachable);
  EXPECT_EQ(RunHeadlong({"cluster", "status", "--context", "mars"}).code, ExitCode::kNotFound);
  EXPECT_EQ(RunHeadlong({"config", "validate"}).code, ExitCode::kOk);
  EXPECT_EQ(RunHeadlong({"config", "delete", "moon"}).code, ExitCode::kOk);
  EXPECT_EQ(RunHeadlong({"config", "delete", "moon"}).code, ExitCode::kNotFound);
  EXPECT_EQ(RunHeadlong({"config", "view", "-o", "name"}).out, "here\n");
  const auto mode = std::filesystem::status(folder_ / "config.json").permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(CommandsTest, ConfigRefusesWhatWouldNotWork) {
  const Outcome no_server = RunHeadlong({"config", "set", "a"});
  EXPECT_EQ(no_server.code, ExitCode::kFailed);
  EXPECT_THAT(no_server.err, HasSubstr("--server"));
  const Outcome clear = RunHeadlong(
      {"config", "set", "a", "--server", "h:1", "--token-file", Write("token", "secret")});
  EXPECT_THAT(clear.err, HasSubstr("in the clear"));
  const Outcome no_ca =
      RunHeadlong({"config", "set", "a", "--server", "h:1", "--tls-ca", "none.crt"});
  EXPECT_THAT(no_ca.err, HasSubstr("none.crt"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "config.json"));
  Write("config.json", R"({"contexts":{"a":{"server":"h:1","tls":true,"token_file":"gone"}}})");
  const Outcome gone = RunHeadlong({"config", "validate"});
  EXPECT_EQ(gone.code, ExitCode::kNotFound);
  EXPECT_THAT(gone.err, HasSubstr((folder_ / "gone").string())) << "files are beside the file";
}

}  // namespace
}  // namespace headlong
