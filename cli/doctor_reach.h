// What a doctor checks of any end of the cluster before it speaks gRPC: files, port, protocol,
// certificate. Each says false where nothing behind it can be asked any more.
#pragma once

#include <string>

#include "cli/dial.h"
#include "cli/doctor.h"
#include "common/tls.h"

namespace headlong {

// Whose end is dialled, for the words.
struct Reach {
  HostPort at;
  bool tls = false;
  TlsFiles files;
  bool worker_port = false;  // else the clients'
};

bool CheckTlsFilesOf(const Reach& reach, Findings& findings);
bool CheckPort(const Reach& reach, Findings& findings);
bool CheckProtocol(const Reach& reach, Findings& findings);
bool CheckCertificate(const Reach& reach, Findings& findings);

// All of them in this order.
bool CheckReach(const Reach& reach, Findings& findings);

}  // namespace headlong
