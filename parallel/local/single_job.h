// The job of a process that was started alone: one rank, no MPI, no socket.
#pragma once

#include "parallel/job.h"

namespace echelon {

class SingleJob : public Job {
 public:
  SingleJob();
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::vector<int>& host_of_rank() const override { return host_of_rank_; }
  const std::string& host_name(int rank) const override;
  const CoreSet& cores_given() const override { return cores_; }
  const CoreSet& cores() const override { return cores_; }
  int num_cores_of_host() const override { return cores_.count(); }
  std::string mpi() const override { return ""; }
  void barrier(const std::string&, int) override {}  // nobody to wait for
  std::vector<uint64_t> exchange_numbers(const std::string&, uint64_t mine) override { return {mine}; }
  std::vector<std::string> exchange_texts(const std::string&, const std::string& mine) override { return {mine}; }
  std::unique_ptr<Communicator> make_communicator(const std::vector<int>& members, GroupId id, WaitTimes times,
                                                  std::stop_token given_up) override;
  std::unique_ptr<ControlChannel> make_control() override;
  void kill_process(int) override {}
  void finish(const std::vector<int>&) override {}

 private:
  std::vector<int> host_of_rank_{0};
  std::string host_name_;
  const CoreSet cores_ = bound_cores();
};

}  // namespace echelon
