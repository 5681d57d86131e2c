// A full mesh of Gloo connections between ranks that find each other through a rendezvous. Included
// only where Gloo is called. Gloo throws: callers catch.
#pragma once

#include <gloo/rendezvous/context.h>

#include <memory>
#include <string>

#include "worker/collective.h"

namespace headlong {

// Keys in the rendezvous begin with `prefix`, so that one epoch can have several meshes. Operations
// on the context take at most options.timeout. Throws when a rank does not come.
std::shared_ptr<gloo::rendezvous::Context> ConnectMesh(const GlooOptions& options,
                                                       const std::string& prefix,
                                                       Rendezvous& rendezvous);

}  // namespace headlong
