#include "common/log_fields.h"

namespace headlong {
namespace {

thread_local std::vector<LogFields::Field> fields_of_thread;

}  // namespace

LogFields::LogFields(std::initializer_list<Field> fields) {
  for (const Field& field : fields) {
    if (field.second.empty()) continue;
    fields_of_thread.push_back(field);
    ++count_;
  }
}

LogFields::~LogFields() {
  for (; count_ > 0; --count_) fields_of_thread.pop_back();
}

const std::vector<LogFields::Field>& LogFields::Current() { return fields_of_thread; }

}  // namespace headlong
