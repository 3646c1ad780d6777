// The ranks that mpirun or srun has started. MPI serves start-up (who, where, addresses, the job's secret) and the data
// between hosts; control goes over our own sockets. No MPI type appears here.
#pragma once

#include <cstdint>

#include "parallel/control/secret.h"
#include "parallel/job.h"

namespace echelon {

class MpiJob : public Job {
 public:
  /// Calls MPI_Init_thread(SERIALIZED), and widen_binding(). Throws Error(Part::parallel) when MPI provides less.
  explicit MpiJob(const JobOptions& options);
  /// Calls MPI_Finalize only after finish(): finalizing without the others would hang.
  ~MpiJob() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::vector<int>& host_of_rank() const override { return host_of_rank_; }
  const std::string& host_name(int rank) const override { return host_names_.at(rank); }
  const CoreSet& cores_given() const override { return cores_given_; }
  const CoreSet& cores() const override { return cores_; }
  int num_cores_of_host() const override { return cores_of_host_.count(); }
  std::string mpi() const override;
  void barrier(const std::string& what, int timeout_ms) override;
  std::vector<uint64_t> exchange_numbers(const std::string& what, uint64_t mine) override;
  std::vector<std::string> exchange_texts(const std::string& what, const std::string& mine) override;
  std::unique_ptr<Communicator> make_communicator(const std::vector<int>& members, GroupId id, WaitTimes times,
                                                  std::stop_token given_up) override;
  std::unique_ptr<ControlChannel> make_control() override;
  void kill_process(int rank) override;
  void finish(const std::vector<int>& lost) override;

 private:
  void find_ranks();
  std::vector<char> all_gather(const std::string& what, std::vector<char> mine);
  char meet(const std::string& what, int timeout_ms, const std::vector<int>& others, char word);
  bool on_one_host() const;

  const JobOptions options_;
  int rank_ = 0, size_ = 1;
  std::vector<int> host_of_rank_;
  std::vector<std::string> host_names_;
  std::vector<int64_t> process_of_rank_;
  CoreSet cores_given_, cores_, cores_of_host_;
  uint64_t job_id_ = 0;
  JobSecret secret_{};
  bool finished_ = false, has_losses_ = false;
};

}  // namespace echelon
