#include "cli/logging.h"

#include <memory>
#include <mutex>
#include <utility>

#include "cli/json_output.h"
#include "common/log_fields.h"
#include "grpc/support/log.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"

namespace headlong {
namespace {

class TerminalSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit TerminalSink(Terminal& terminal) : terminal_(terminal) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t buffer;
    formatter_->format(message, buffer);
    terminal_.Line({buffer.data(), buffer.size()});
  }
  void flush_() override {}

 private:
  Terminal& terminal_;
};

// "04:01:31.278 info worker w0 registered request_id=r-1"
class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    pattern_.format(message, out);
    for (const auto& [name, value] : LogFields::Current()) {
      const std::string field = std::string(" ") + name + "=" + value;
      out.append(field.data(), field.data() + field.size());
    }
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }

 private:
  spdlog::pattern_formatter pattern_{"%H:%M:%S.%e %l %v", spdlog::pattern_time_type::local, ""};
};

// {"ts":"2026-01-02T03:04:05.123456789Z","level":"info","msg":"..","component":".."} and fields.
class JsonFormatter final : public spdlog::formatter {
 public:
  explicit JsonFormatter(LogSource source) : source_(std::move(source)) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t time;
    time_.format(message, time);
    const auto level = spdlog::level::to_string_view(message.level);
    OutputJson line;
    line["ts"] = std::string(time.data(), time.size());
    line["level"] = std::string(level.data(), level.size());
    line["msg"] = std::string(message.payload.data(), message.payload.size());
    line["component"] = source_.component;
    if (!source_.worker.empty()) line["worker"] = source_.worker;
    for (const auto& [name, value] : LogFields::Current()) line[name] = value;
    // Bytes that are no UTF-8 must not end the process.
    const std::string text = line.dump(-1, ' ', false, OutputJson::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>(source_);
  }

 private:
  const LogSource source_;
  spdlog::pattern_formatter time_{"%Y-%m-%dT%H:%M:%S.%FZ", spdlog::pattern_time_type::utc, ""};
};

void LogOfGrpc(gpr_log_func_args* args) { spdlog::debug("gRPC: {}", args->message); }

}  // namespace

void SetUpLogging(Terminal& terminal, const LogFlags& flags, const LogSource& source) {
  auto logger =
      std::make_shared<spdlog::logger>("headlong", std::make_shared<TerminalSink>(terminal));
  if (flags.json()) {
    logger->set_formatter(std::make_unique<JsonFormatter>(source));
  } else {
    logger->set_formatter(std::make_unique<TextFormatter>());
  }
  logger->set_level(spdlog::level::from_str(flags.level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogOfGrpc);
}

void Announce(Terminal& terminal, const LogFlags& flags, const std::string& line) {
  if (flags.json()) {
    spdlog::info("{}", line);
  } else {
    terminal.Line(line);
  }
}

}  // namespace headlong
