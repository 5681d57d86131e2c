// Why a request is not in the step that was sent.
#pragma once

namespace headlong {

enum class WaitCause {
  kNextStep,   // it came while a step ran
  kCluster,    // no epoch serves
  kOlder,      // requests are begun in order of arrival
  kSequences,  // as many run as may
  kRows,       // the step is full
  kPages,      // its tokens do not fit the cache beside the others'
  kExact,      // one exact prefill at a time
  kSuspect,    // it and another were in a step that crashed: one at a time
};

const char* TextOf(WaitCause cause);

}  // namespace headlong
