// Fields that the log lines of a thread carry besides their message: a request's id, a trace's.
// Text logs append them, JSON logs make members of them. A field holds while its LogFields lives.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace headlong {

class LogFields {
 public:
  using Field = std::pair<const char*, std::string>;

  // Empty values are left out.
  explicit LogFields(std::initializer_list<Field> fields);
  ~LogFields();
  LogFields(const LogFields&) = delete;

  // Of this thread, the oldest first.
  static const std::vector<Field>& Current();

 private:
  size_t count_ = 0;
};

}  // namespace headlong
