// One rank: groups of one, and a control channel that hands rank 0 its own messages.
#include "parallel/local/single_job.h"

#include <unistd.h>

#include "kernels/base/check.h"
#include "parallel/local/local_control.h"
#include "parallel/local/local_group.h"

namespace echelon {

SingleJob::SingleJob() {
  char name[256] = "localhost";
  gethostname(name, sizeof(name) - 1);
  host_name_ = name;
}

const std::string& SingleJob::host_name(int rank) const {
  ECHELON_CHECK(rank == 0);
  return host_name_;
}

std::unique_ptr<Communicator> SingleJob::make_communicator(const std::vector<int>& members, GroupId, WaitTimes,
                                                           std::stop_token) {
  ECHELON_CHECK(members == std::vector<int>{0}, "a job of one rank has one group");
  return make_group_of_one();
}

std::unique_ptr<ControlChannel> SingleJob::make_control() { return std::move(make_local_control(1)[0]); }

}  // namespace echelon
