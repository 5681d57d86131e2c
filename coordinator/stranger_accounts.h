// What strangers sent, connection by connection, and whose is to be cut. Pure.
//
// gRPC 1.51 refuses a call with too many headers, yet parses and keeps all of them until the last
// has come, fourteen bytes for each one sent and more. Nobody but the sender knows when that is. So
// this counts from one call to the next: what comes in while no call begins is bounded, for each
// connection and for all. Calls do not add up, since who makes many small ones could save for a
// large one.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

namespace headlong {

struct StrangerLimits {
  uint64_t each_bytes;   // of one connection, from one call to the next
  uint64_t quiet_bytes;  // who sent no more than that counts for nothing in what all sent
  uint64_t all_bytes;    // of all connections, what each sent beyond quiet_bytes
};

class StrangerAccounts {
 public:
  explicit StrangerAccounts(const StrangerLimits& limits) : limits_(limits) {}

  // `id`: of a connection, anew where it is known already.
  void Open(int id);
  void Close(int id);
  // A call of this connection came in: all of its headers did, and no others were under way. Takes
  // effect with what is received next.
  void CallBegan(int id);
  // The connection received `bytes` since it began. Those to be cut now, this one or those that
  // have been loud the longest; they count until they are closed.
  std::vector<int> Received(int id, uint64_t bytes);

 private:
  struct Account {
    uint64_t begin_bytes = 0;  // received when the last call had begun
    uint64_t loud_bytes = 0;   // beyond what is quiet
    uint64_t loud_since = 0;   // key in loud_ while loud
    bool call_began = false;
  };
  void SetLoud(int id, Account& account, uint64_t bytes);

  const StrangerLimits limits_;
  std::unordered_map<int, Account> accounts_;
  std::map<uint64_t, int> loud_;  // in the order in which they became it
  uint64_t next_loud_ = 0;
  uint64_t all_loud_bytes_ = 0;
};

}  // namespace headlong
