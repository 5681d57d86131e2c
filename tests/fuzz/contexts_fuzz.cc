// Any bytes as the file of contexts: refused with a message, or contexts that survive a round trip,
// each of which commands find their server by, and whose tokens go to no other server.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cli/contexts.h"
#include "tests/fuzz/require.h"

using headlong::Contexts;
using headlong::Require;

namespace {

absl::StatusOr<headlong::ServerFlags> Resolve(const Contexts& contexts,
                                              const headlong::ServerFlags& flags) {
  return headlong::ResolveServer(
      flags, [](const char*) { return std::string(); },
      [&]() -> absl::StatusOr<Contexts> { return contexts; });
}

void CheckServers(const Contexts& contexts) {
  for (const auto& [name, context] : contexts.by_name) {
    headlong::ServerFlags flags;
    flags.context = name;
    const auto server = Resolve(contexts, flags);
    Require(server.ok() && server->address == context.server && server->tls == context.tls);
    Require(server->files.ca == context.tls_ca && server->token_file == context.token_file);
  }
  headlong::ServerFlags elsewhere;
  elsewhere.address = "elsewhere:7000";
  const auto server = Resolve(contexts, elsewhere);
  Require(server.ok() && server->address == elsewhere.address && server->token_file.empty());
  const auto current = Resolve(contexts, {});
  Require(current.ok());
  const std::string expected = contexts.current.empty()
                                   ? headlong::kDefaultServer
                                   : contexts.by_name.at(contexts.current).server;
  Require(current->address == expected);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto contexts = headlong::ParseContexts(text, "config.json");
  if (!contexts.ok()) {
    Require(!contexts.status().message().empty());
    return 0;
  }
  const std::string written = headlong::ContextsJson(*contexts).dump();
  const auto again = headlong::ParseContexts(written, "round trip");
  Require(again.ok() && headlong::ContextsJson(*again).dump() == written);
  CheckServers(*contexts);
  return 0;
}
