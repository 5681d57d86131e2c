#include "coordinator/stranger_accounts.h"

namespace headlong {

void StrangerAccounts::Open(int id) {
  Close(id);
  accounts_[id] = {};
}

void StrangerAccounts::Close(int id) {
  const auto found = accounts_.find(id);
  if (found == accounts_.end()) return;
  SetLoud(id, found->second, 0);
  accounts_.erase(found);
}

void StrangerAccounts::CallBegan(int id) {
  const auto found = accounts_.find(id);
  if (found != accounts_.end()) found->second.call_began = true;
}

std::vector<int> StrangerAccounts::Received(int id, uint64_t bytes) {
  const auto found = accounts_.find(id);
  if (found == accounts_.end()) return {};
  Account& account = found->second;
  if (account.call_began) account.begin_bytes = bytes;
  account.call_began = false;
  const uint64_t sent = bytes - account.begin_bytes;
  SetLoud(id, account, sent > limits_.quiet_bytes ? sent - limits_.quiet_bytes : 0);
  if (sent > limits_.each_bytes) return {id};
  std::vector<int> cut;
  uint64_t left = all_loud_bytes_;
  for (auto oldest = loud_.begin(); left > limits_.all_bytes; ++oldest) {
    cut.push_back(oldest->second);
    left -= accounts_.at(oldest->second).loud_bytes;
  }
  return cut;
}

void StrangerAccounts::SetLoud(int id, Account& account, uint64_t bytes) {
  if (account.loud_bytes == 0 && bytes > 0) {
    account.loud_since = next_loud_++;
    loud_[account.loud_since] = id;
  }
  if (account.loud_bytes > 0 && bytes == 0) loud_.erase(account.loud_since);
  all_loud_bytes_ = all_loud_bytes_ - account.loud_bytes + bytes;
  account.loud_bytes = bytes;
}

}  // namespace headlong
