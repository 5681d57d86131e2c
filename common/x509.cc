#include "common/x509.h"

#include <ctime>

namespace headlong {

std::string TimeText(const ASN1_TIME* time) {
  std::tm broken{};
  ASN1_TIME_to_tm(time, &broken);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &broken);
  return text;
}

}  // namespace headlong
