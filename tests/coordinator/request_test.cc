// The door: what is wrong is refused by field, value and range; what is left out has its default.
#include "coordinator/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace headlong {
namespace {

const RequestLimits kLimits{"needle", /*vocab_size=*/100, /*max_context=*/50,
                            /*max_sequences=*/2, /*max_batch_tokens=*/4};
const FreshValues kFresh{"r-fresh", 77};

RequestInput Input(int prompt = 10) {
  RequestInput input;
  input.prompt.assign(prompt, 1);
  return input;
}

absl::StatusOr<Request> Make(const std::function<void(RequestInput&)>& change) {
  RequestInput input = Input();
  change(input);
  return MakeRequest(std::move(input), kLimits, kFresh);
}

struct Refusal {
  const char* says;  // how the message begins
  std::function<void(RequestInput&)> change;
};

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, NamesTheField) {
  const auto made = Make(GetParam().change);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(made.status().message()), testing::StartsWith(GetParam().says));
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

INSTANTIATE_TEST_SUITE_P(
    Lengths, Refused,
    testing::Values(
        Refusal{"prompt: must hold", [](RequestInput& in) { in.prompt.clear(); }},
        Refusal{"prompt: must be shorter than the context of 50",
                [](RequestInput& in) { in.prompt.assign(50, 1); }},
        Refusal{"max_tokens: must be at most 40", [](RequestInput& in) { in.max_tokens = 41; }},
        Refusal{"max_tokens", [](RequestInput& in) { in.max_tokens = 0; }},
        Refusal{"max_tokens", [](RequestInput& in) { in.max_tokens = -5; }},
        Refusal{"max_tokens",
                [](RequestInput& in) { in.max_tokens = std::numeric_limits<int64_t>::max(); }},
        Refusal{"prompt_tokens", [](RequestInput& in) { in.prompt_tokens = 0; }},
        Refusal{"prompt_tokens", [](RequestInput& in) { in.prompt_tokens = 11; }}));

v1::Probe ProbeAt(const std::vector<uint32_t>& positions) {
  v1::Probe probe;
  probe.mutable_positions()->Add(positions.begin(), positions.end());
  return probe;
}

v1::Probe ProbeOfCopies(const std::vector<uint32_t>& rows, const std::vector<uint32_t>& positions) {
  v1::Probe probe;
  probe.mutable_copying_rows()->Add(rows.begin(), rows.end());
  probe.mutable_copied_positions()->Add(positions.begin(), positions.end());
  return probe;
}

INSTANTIATE_TEST_SUITE_P(
    Probes, Refused,
    testing::Values(Refusal{"probe.positions: must be ascending and below 10",
                            [](RequestInput& in) { in.probe = ProbeAt({10}); }},
                    Refusal{"probe.positions",
                            [](RequestInput& in) {
                              in.probe = ProbeAt({5, 5});
                            }},
                    Refusal{"probe.positions: must be one of at most 2 in any 4",
                            [](RequestInput& in) {
                              in.probe = ProbeAt({3, 4, 6});
                            }},
                    Refusal{"probe.period",
                            [](RequestInput& in) {
                              in.probe = ProbeAt({});
                              in.probe->set_period(1);
                            }},
                    Refusal{"probe.copied_positions: must be as many as copying_rows, 2",
                            [](RequestInput& in) {
                              in.probe = ProbeOfCopies({5, 6}, {1});
                            }},
                    Refusal{"probe.copying_rows: must be rising and below 10",
                            [](RequestInput& in) {
                              in.probe = ProbeOfCopies({6, 5}, {1, 1});
                            }},
                    Refusal{"probe.copying_rows",
                            [](RequestInput& in) { in.probe = ProbeOfCopies({10}, {1}); }},
                    Refusal{"probe.copied_positions: must be at most 5",
                            [](RequestInput& in) { in.probe = ProbeOfCopies({5}, {6}); }}));

TEST(Request, AProbeThatFitsIsTaken) {
  const auto copies = Make([](RequestInput& in) {
    in.probe = ProbeOfCopies({5, 5, 9}, {1, 5, 2});
  });
  EXPECT_TRUE(copies.ok()) << copies.status();
  const auto made = Make([](RequestInput& in) { in.probe = ProbeAt({2, 3, 6, 7}); });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->probe->positions_size(), 4);
}

INSTANTIATE_TEST_SUITE_P(
    Sampling, Refused,
    testing::Values(Refusal{"temperature", [](RequestInput& in) { in.temperature = kNaN; }},
                    Refusal{"temperature", [](RequestInput& in) { in.temperature = -0.1f; }},
                    Refusal{"temperature", [](RequestInput& in) { in.temperature = 2.1f; }},
                    Refusal{"temperature", [](RequestInput& in) { in.temperature = kInfinity; }},
                    Refusal{"top_p", [](RequestInput& in) { in.top_p = kNaN; }},
                    Refusal{"top_p", [](RequestInput& in) { in.top_p = 0; }},
                    Refusal{"top_p", [](RequestInput& in) { in.top_p = 1.01f; }},
                    Refusal{"top_k", [](RequestInput& in) { in.top_k = -2; }},
                    Refusal{"top_k", [](RequestInput& in) { in.top_k = int64_t{1} << 31; }},
                    Refusal{"min_p", [](RequestInput& in) { in.min_p = kNaN; }},
                    Refusal{"min_p", [](RequestInput& in) { in.min_p = -0.5f; }},
                    Refusal{"logprobs", [](RequestInput& in) { in.logprobs = 21; }},
                    Refusal{"logprobs", [](RequestInput& in) { in.logprobs = -1; }}));

INSTANTIATE_TEST_SUITE_P(
    Values, Refused,
    testing::Values(
        Refusal{"token_ids[3]", [](RequestInput& in) { in.prompt[3] = 100; }},
        Refusal{"resume_token_ids[1]",
                [](RequestInput& in) {
                  in.resume = {1, 100};
                }},
        Refusal{"resume_token_ids: must be at most max_tokens = 2",
                [](RequestInput& in) {
                  in.max_tokens = 2;
                  in.resume = {1, 2, 3};
                }},
        Refusal{"stop: must be at most 16", [](RequestInput& in) { in.stop.assign(17, "x"); }},
        Refusal{"stop[1]",
                [](RequestInput& in) {
                  in.stop = {"x", ""};
                }},
        Refusal{"stop[0]", [](RequestInput& in) { in.stop = {std::string(257, 'x')}; }},
        Refusal{"request_id", [](RequestInput& in) { in.request_id = "no spaces"; }},
        Refusal{"request_id", [](RequestInput& in) { in.request_id.assign(65, 'a'); }},
        Refusal{"model: must be \"needle\"", [](RequestInput& in) { in.model = "other"; }}));

TEST(Made, Defaults) {
  const auto made = Make([](RequestInput&) {});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->id, "r-fresh");
  EXPECT_EQ(made->sampling.seed, 77u);
  EXPECT_EQ(made->sampling.temperature, 1);
  EXPECT_EQ(made->sampling.top_p, 1);
  EXPECT_EQ(made->sampling.top_k, 0);
  EXPECT_FALSE(made->sampling.logprobs);
  EXPECT_EQ(made->max_tokens, 40) << "what the context leaves, below the default of 256";
  EXPECT_EQ(made->original_prompt_tokens, 10);
}

TEST(Made, LimitsThemselvesAreAllowed) {
  const auto made = Make([](RequestInput& in) {
    in.temperature = 2;
    in.min_p = 1;
    in.top_k = -1;
    in.logprobs = 20;
    in.max_tokens = 40;
    in.stop.assign(16, std::string(256, 'x'));
    in.request_id = std::string(64, 'Z');
    in.prompt[0] = 99;
    in.model = "needle";
  });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->sampling.top_k, 0);
  EXPECT_EQ(made->sampling.logprobs, 20);
  EXPECT_EQ(made->id, std::string(64, 'Z'));
}

TEST(Made, ResumedTokensFollowThePromptAndCount) {
  const auto made = Make([](RequestInput& in) {
    in.resume = {5, 6, 7};
    in.max_tokens = 3;
    in.prompt_tokens = 4;
  });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->tokens.size(), 13u);
  EXPECT_EQ(made->tokens[10], 5u);
  EXPECT_EQ(made->prompt_length, 10);
  EXPECT_EQ(made->generated(), 3);
  EXPECT_EQ(made->original_prompt_tokens, 4);
}

}  // namespace
}  // namespace headlong
