// What one rank tells `echelon doctor` of itself and its host. Plain data, as JSON between ranks and for programs.
#pragma once

#include <boost/describe.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace echelon {

/// Messages between this rank and the one before it.
struct LinkFacts {
  std::string way;         ///< "shared memory", "MPI" or "MPI over TCP"; empty: there is no rank before it
  double us = 0;           ///< one way, of a short message
  double bytes_per_s = 0;  ///< there and back, of long ones
  std::string fault;       ///< why there is no link; empty: there is
};

/// Where the model is for this rank; all empty when none was named.
struct ModelFacts {
  std::string path;
  std::string file_system;  ///< "ext4", "nfs4"
  bool is_remote = false;   ///< its bytes come over a network
  int64_t num_bytes = 0;    ///< of its files
  std::string fault;        ///< why it cannot be opened; empty: it can
};

struct RankFacts {
  std::string host;
  int local_rank = 0;              ///< among those of its host, by rank: MPI's word, not the environment's
  std::string mpi;                 ///< library and thread level; empty: MPI does not run
  std::string binary;              ///< build id of this program
  std::string isa;                 ///< the best of the kernels' instruction sets
  std::string cores_given, cores;  ///< "0-3": as the launcher bound it, and as it runs
  int num_cores = 0;               ///< in `cores`
  int num_cores_of_host = 0;       ///< online
  int num_cores_of_ranks = 0;      ///< that the ranks of this host may use together
  double core_quota = 0;           ///< cores' worth of time that the cgroup gives; 0: no limit
  bool yields = false;             ///< MPI gives its core away while it waits
  int64_t free_bytes = 0;          ///< memory of the host, or what the cgroup leaves of it
  std::string numa_nodes;          ///< those of `cores`
  std::vector<std::string> gpus;
  std::string no_gpus;                  ///< why there are none
  std::vector<std::string> interfaces;  ///< "eth0 10.0.0.1"
  std::string address;                  ///< that control between hosts would bind
  std::string address_fault;            ///< why there is none
  std::vector<std::string> fabrics;     ///< InfiniBand's devices
  int64_t shm_free_bytes = 0;           ///< of /dev/shm
  // Limits of this process; -1: none.
  int64_t open_files = 0, open_files_hard = 0;
  int64_t locked_bytes = 0;
  int64_t processes = 0;
  int64_t connections = 0;  ///< that the open files allow of --max-connections
  int64_t clock_us = 0;     ///< since 1970, at about the same moment on every rank
  ModelFacts model;
  LinkFacts link;
  std::string control_fault;  ///< why the control channel does not come about; empty: it does
};

BOOST_DESCRIBE_STRUCT(LinkFacts, (), (way, us, bytes_per_s, fault))
BOOST_DESCRIBE_STRUCT(ModelFacts, (), (path, file_system, is_remote, num_bytes, fault))
BOOST_DESCRIBE_STRUCT(RankFacts, (),
                      (host, local_rank, mpi, binary, isa, cores_given, cores, num_cores, num_cores_of_host,
                       num_cores_of_ranks, core_quota, yields, free_bytes, numa_nodes, gpus, no_gpus, interfaces,
                       address, address_fault, fabrics, shm_free_bytes, open_files, open_files_hard, locked_bytes,
                       processes, connections, clock_us, model, link, control_fault))

boost::json::value to_json(const RankFacts& facts);
/// Throws Error(Part::launch) for what to_json() has not made.
RankFacts parse_rank_facts(const std::string& text);

}  // namespace echelon
