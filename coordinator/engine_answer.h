// What an engine says of itself, asked from any other thread.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "coordinator/engine.h"

namespace headlong {

// Engine::Describe for a message without errors: GetClusterResponse, ListWorkersResponse.
// UNAVAILABLE where it does not answer within two seconds, or has ended.
template <typename Response>
absl::StatusOr<Response> AnswerOf(Engine& engine) {
  auto promise = std::make_shared<std::promise<Response>>();
  std::future<Response> answer = promise->get_future();
  engine.Post([&engine, promise] {
    Response response;
    engine.Describe(response);
    promise->set_value(std::move(response));
  });
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!engine.joined() && std::chrono::steady_clock::now() < give_up) {
    const auto state = answer.wait_for(std::chrono::milliseconds(20));
    if (state == std::future_status::ready) return answer.get();
  }
  return absl::UnavailableError("the coordinator shuts down");
}

}  // namespace headlong
