#include "cli/logging.h"

#include <memory>
#include <mutex>

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
    std::string_view line(buffer.data(), buffer.size());
    if (line.ends_with('\n')) line.remove_suffix(1);
    terminal_.Line(line);
  }
  void flush_() override {}

 private:
  Terminal& terminal_;
};

}  // namespace

void SetUpLogging(Terminal& terminal, const std::string& level) {
  auto logger =
      std::make_shared<spdlog::logger>("headlong", std::make_shared<TerminalSink>(terminal));
  logger->set_pattern("%H:%M:%S.%e %l %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace headlong
