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

int64_t UnixSeconds(const ASN1_TIME* time) {
  std::tm broken{};
  ASN1_TIME_to_tm(time, &broken);
  return timegm(&broken);
}

std::string SerialText(const X509* certificate) {
  const OpenSslOwned<BIGNUM> number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* digits = BN_bn2hex(number.get());
  std::string text = digits == nullptr ? "" : digits;
  OPENSSL_free(digits);
  return text;
}

}  // namespace headlong
