// OpenSSL's objects with owners, and the words that certificates are shown in.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>

namespace headlong {

struct OpenSslFreer {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(BIGNUM* p) const { BN_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
};
template <typename T>
using OpenSslOwned = std::unique_ptr<T, OpenSslFreer>;

// "2026-01-31 12:00 UTC"
std::string TimeText(const ASN1_TIME* time);
int64_t UnixSeconds(const ASN1_TIME* time);

// "3A5F...", in hexadecimal.
std::string SerialText(const X509* certificate);

}  // namespace headlong
