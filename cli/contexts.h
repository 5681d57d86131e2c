// Named servers of the user, in a file like kubectl's: where each is and how the caller is known
// there. No secret is in it, only names of files. Pure but for what reads and writes the file.
//   {"current":"prod","contexts":{"prod":{"server":"10.0.0.1:7000","tls":false,
//    "tls_ca":"/etc/headlong/ca.crt","token_file":"/home/me/prod.token"}}}
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cli/flags.h"
#include "cli/json_output.h"

namespace headlong {

struct Context {
  std::string server;  // HOST:PORT
  bool tls = false;    // the system's authorities vouch for the server
  std::string tls_ca;  // files; a name that is not absolute is beside the file of contexts
  std::string token_file;
};

struct Contexts {
  std::string current;  // empty: none
  std::map<std::string, Context> by_name;
};

// INVALID_ARGUMENT names `source`, the context and the field.
absl::StatusOr<Contexts> ParseContexts(std::string_view text, const std::string& source);
OutputJson ContextsJson(const Contexts& contexts);

// The value of an environment variable; empty where it is not set.
using Environment = std::function<std::string(const char*)>;
std::string FromEnvironment(const char* name);

// $HEADLONG_CONFIG, else $XDG_CONFIG_HOME/headlong/config.json, else
// ~/.config/headlong/config.json.
std::filesystem::path ContextsPath(const Environment& environment);

// No file is a file without contexts. Errors as ParseContexts, or of reading.
absl::StatusOr<Contexts> LoadContexts(const std::filesystem::path& path);
// Makes the folder; replaces the file as a whole.
absl::Status SaveContexts(const std::filesystem::path& path, const Contexts& contexts);

// Where a command goes: what the command line says wins, then the environment (HEADLONG_SERVER,
// HEADLONG_TLS_CA, HEADLONG_TOKEN_FILE), then the context. With --context the file goes before the
// environment. Whoever names a server without a context gets nothing of the file: no token may go
// to a server that it is not for. `load` is called only where the file counts. NOT_FOUND names a
// context that is not there.
absl::StatusOr<ServerFlags> ResolveServer(const ServerFlags& flags, const Environment& environment,
                                          const std::function<absl::StatusOr<Contexts>()>& load);

}  // namespace headlong
