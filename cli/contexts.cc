#include "cli/contexts.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "cli/private_file.h"
#include "common/json.h"
#include "common/name_rule.h"
#include "common/status.h"

namespace headlong {
namespace {

absl::StatusOr<Context> ParseContext(const Json& json, const std::string& what) {
  RETURN_IF_ERROR(JsonOnlyFields(json, {"server", "tls", "tls_ca", "token_file"}, what));
  Context context;
  ASSIGN_OR_RETURN(context.server, JsonString(json, "server", what));
  if (const std::string wrong = CheckAddress(context.server); !wrong.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": server: ", wrong));
  }
  if (json.contains("tls")) {
    ASSIGN_OR_RETURN(context.tls, JsonBool(json, "tls", what));
  }
  if (json.contains("tls_ca")) {
    ASSIGN_OR_RETURN(context.tls_ca, JsonString(json, "tls_ca", what));
  }
  if (json.contains("token_file")) {
    ASSIGN_OR_RETURN(context.token_file, JsonString(json, "token_file", what));
  }
  return context;
}

void Overlay(const std::string& value, std::string& out) {
  if (!value.empty()) out = value;
}

std::string Beside(const std::filesystem::path& folder, const std::string& file) {
  return file.empty() ? file : (folder / file).lexically_normal().string();
}

}  // namespace

absl::StatusOr<Contexts> ParseContexts(std::string_view text, const std::string& source) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, source));
  RETURN_IF_ERROR(JsonOnlyFields(json, {"current", "contexts"}, source));
  Contexts contexts;
  if (json.contains("current")) {
    ASSIGN_OR_RETURN(contexts.current, JsonString(json, "current", source));
  }
  if (json.contains("contexts")) {
    if (!json["contexts"].is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(source, ": contexts: must be an object"));
    }
    for (const auto& [name, entry] : json["contexts"].items()) {
      const std::string what = absl::StrCat(source, ": contexts: ", name);
      if (!IsName(name)) {
        return absl::InvalidArgumentError(absl::StrCat(what, ": must match ", Av(kNameRule)));
      }
      ASSIGN_OR_RETURN(contexts.by_name[name], ParseContext(entry, what));
    }
  }
  if (!contexts.current.empty() && !contexts.by_name.contains(contexts.current)) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": current: there is no context ",
                                                   JsonExcerpt(Json(contexts.current))));
  }
  return contexts;
}

OutputJson ContextsJson(const Contexts& contexts) {
  OutputJson json;
  json["current"] = contexts.current;
  json["contexts"] = OutputJson::object();
  for (const auto& [name, context] : contexts.by_name) {
    OutputJson& entry = json["contexts"][name];
    entry["server"] = context.server;
    entry["tls"] = context.tls;
    if (!context.tls_ca.empty()) entry["tls_ca"] = context.tls_ca;
    if (!context.token_file.empty()) entry["token_file"] = context.token_file;
  }
  return json;
}

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::filesystem::path ContextsPath(const Environment& environment) {
  const std::string own = environment("HEADLONG_CONFIG");
  if (!own.empty()) return own;
  const std::string xdg = environment("XDG_CONFIG_HOME");
  const std::filesystem::path folder = xdg.empty()
                                           ? std::filesystem::path(environment("HOME")) / ".config"
                                           : std::filesystem::path(xdg);
  return folder / "headlong" / "config.json";
}

absl::StatusOr<Contexts> LoadContexts(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Contexts();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(Contexts contexts, ParseContexts(text, path.string()));
  const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
  for (auto& [name, context] : contexts.by_name) {
    context.tls_ca = Beside(folder, context.tls_ca);
    context.token_file = Beside(folder, context.token_file);
  }
  return contexts;
}

absl::Status SaveContexts(const std::filesystem::path& path, const Contexts& contexts) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.parent_path().string(), ": cannot be made: ", error.message()));
  }
  return WritePrivateFile(path.string(), ContextsJson(contexts).dump(2) + "\n", /*replace=*/true);
}

absl::StatusOr<ServerFlags> ResolveServer(const ServerFlags& flags, const Environment& environment,
                                          const std::function<absl::StatusOr<Contexts>()>& load) {
  ServerFlags from_environment;
  from_environment.address = environment("HEADLONG_SERVER");
  from_environment.files.ca = environment("HEADLONG_TLS_CA");
  from_environment.token_file = environment("HEADLONG_TOKEN_FILE");
  ServerFlags resolved;
  const bool named_server = !flags.address.empty() || !from_environment.address.empty();
  if (!flags.context.empty() || !named_server) {
    ASSIGN_OR_RETURN(const Contexts contexts, load());
    resolved.context = flags.context;
    if (resolved.context.empty()) resolved.context = environment("HEADLONG_CONTEXT");
    if (resolved.context.empty()) resolved.context = contexts.current;
    const auto found = contexts.by_name.find(resolved.context);
    if (!resolved.context.empty() && found == contexts.by_name.end()) {
      return absl::NotFoundError(absl::StrCat("--context: there is no context ", resolved.context,
                                              "; `headlong config view` shows those that are"));
    }
    if (found != contexts.by_name.end()) {
      resolved.address = found->second.server;
      resolved.tls = found->second.tls;
      resolved.files.ca = found->second.tls_ca;
      resolved.token_file = found->second.token_file;
    }
  }
  const auto overlay = [&resolved](const ServerFlags& by) {
    Overlay(by.address, resolved.address);
    Overlay(by.files.ca, resolved.files.ca);
    Overlay(by.files.cert, resolved.files.cert);
    Overlay(by.files.key, resolved.files.key);
    Overlay(by.token_file, resolved.token_file);
    resolved.tls = resolved.tls || by.tls;
  };
  if (flags.context.empty()) overlay(from_environment);
  overlay(flags);
  if (resolved.address.empty()) resolved.address = kDefaultServer;
  const std::string wrong = CheckAddress(resolved.address);
  if (!wrong.empty()) return absl::InvalidArgumentError(absl::StrCat("HEADLONG_SERVER: ", wrong));
  return resolved;
}

}  // namespace headlong
