// Each fact from where a rank would take it, so that what is said here is what a server meets.
#include "launch/doctor/this_rank.h"

#include <fmt/format.h>
#include <link.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/host_memory.h"
#include "engine/model/open_model.h"
#include "frontend/http/open_files.h"
#include "kernels/backend.h"
#include "kernels/base/error.h"
#include "launch/doctor/gpus.h"
#include "launch/doctor/trial.h"
#include "parallel/control/wire.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

int64_t limit_of(rlim_t value) { return value == RLIM_INFINITY ? -1 : static_cast<int64_t>(value); }

rlimit limits(__rlimit_resource resource) {
  rlimit limit{};
  ::getrlimit(resource, &limit);
  return limit;
}

/// The linker's, which is another for every other program; the size of the file where it left none.
std::string build_id() {
  std::string id;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* into) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_NOTE) continue;
          const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(info->dlpi_addr + segment.p_vaddr);
          const auto* bytes = reinterpret_cast<const unsigned char*>(note + 1);
          if (note->n_type != NT_GNU_BUILD_ID || note->n_namesz != 4 || std::memcmp(bytes, "GNU", 4) != 0) continue;
          for (unsigned k = 0; k < note->n_descsz; ++k)
            *static_cast<std::string*>(into) += fmt::format("{:02x}", bytes[4 + k]);
        }
        return 1;  // the first object is the program
      },
      &id);
  std::error_code none;
  return id.empty() ? fmt::format("{} bytes", fs::file_size("/proc/self/exe", none)) : id;
}

std::string numa_nodes_of(const CoreSet& cores) {
  CoreSet nodes;
  for (const std::string& name : names_in("/sys/devices/system/node")) {
    if (!name.starts_with("node") || name.find_first_not_of("0123456789", 4) != std::string::npos) continue;
    CoreSet of_node = parse_cores(first_line("/sys/devices/system/node/" + name + "/cpulist"));
    const int before = of_node.count();
    CoreSet both = cores;
    both |= of_node;
    if (before > 0 && both.count() < cores.count() + before) nodes |= parse_cores(name.substr(4));
  }
  return to_string(nodes);
}

/// "200000 100000" of cgroup v2: microseconds of cores in a period.
double core_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period && period > 0 ? quota / period : 0;
}

/// The local rank of the table that layouts use.
int local_rank(const Job& job) {
  const std::vector<int>& hosts = job.host_of_rank();
  return static_cast<int>(std::count(hosts.begin(), hosts.begin() + job.rank(), hosts[job.rank()]));
}

void find_cores(const Job& job, RankFacts& facts) {
  facts.cores_given = to_string(job.cores_given());
  facts.cores = to_string(job.cores());
  facts.num_cores = job.cores().count();
  facts.num_cores_of_host = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  facts.num_cores_of_ranks = job.num_cores_of_host();
  facts.core_quota = core_quota();
  const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
  facts.yields = yields != nullptr && std::string_view(yields) == "1";
  facts.numa_nodes = numa_nodes_of(job.cores());
  facts.isa = to_string(best_cpu_isa());
}

void find_network(const ServeOptions& options, RankFacts& facts) {
  try {
    for (const NetworkInterface& each : list_interfaces())
      facts.interfaces.push_back(fmt::format("{} {}", each.name, each.ip_address));
    facts.address = choose_ip_address(options.control_interface);
  } catch (const Error& fault) {
    facts.address_fault = fault.what();
  }
  facts.fabrics = names_in("/sys/class/infiniband");
}

void find_limits(const ServeOptions& options, RankFacts& facts) {
  facts.free_bytes = static_cast<int64_t>(available_host_bytes());
  struct statvfs shm {};
  if (::statvfs("/dev/shm", &shm) == 0)
    facts.shm_free_bytes = static_cast<int64_t>(shm.f_bavail) * static_cast<int64_t>(shm.f_frsize);
  facts.open_files = limit_of(limits(RLIMIT_NOFILE).rlim_cur);
  facts.open_files_hard = limit_of(limits(RLIMIT_NOFILE).rlim_max);
  facts.locked_bytes = limit_of(limits(RLIMIT_MEMLOCK).rlim_cur);
  facts.processes = limit_of(limits(RLIMIT_NPROC).rlim_cur);
  facts.connections = static_cast<int64_t>(room_for_connections(static_cast<size_t>(options.max_connections)));
}

ModelFacts find_model(const std::string& model) {
  ModelFacts facts;
  if (model.empty()) return facts;
  try {
    const OpenModel opened = open_model(model);
    const fs::path path = fs::canonical(opened.path.path);
    facts.path = path;
    std::ifstream mounts("/proc/self/mountinfo");
    facts.file_system = find_mount({std::istreambuf_iterator<char>(mounts), {}}, path).type;
    facts.is_remote = is_remote_type(facts.file_system);
    if (!fs::is_directory(path)) {
      facts.num_bytes = static_cast<int64_t>(fs::file_size(path));
    } else {
      for (const auto& entry : fs::directory_iterator(path)) {
        if (entry.is_regular_file()) facts.num_bytes += static_cast<int64_t>(entry.file_size());
      }
    }
  } catch (const std::exception& fault) {
    facts.fault = fault.what();
  }
  return facts;
}

/// A path of mountinfo has blanks and backslashes in octal.
std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && std::all_of(&text[i + 1], &text[i + 4], is_octal)) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

Mount find_mount(const std::string& mountinfo, const std::string& path) {
  Mount best;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream words(line);
    std::string point, type;
    for (int i = 0; i < 5; ++i) words >> point;
    point = unescaped(point);
    std::istringstream(line.substr(dash + 3)) >> type;
    const bool holds = point == "/" || path == point || path.starts_with(point + "/");
    if (holds && point.size() >= best.point.size()) best = {point, type};
  }
  return best;
}

bool is_remote_type(const std::string& type) {
  constexpr std::string_view kRemote[] = {"nfs",   "nfs4", "lustre", "gpfs",  "ceph",  "beegfs", "cifs",     "smb3",
                                          "smbfs", "afs",  "9p",     "pvfs2", "panfs", "wekafs", "glusterfs"};
  constexpr std::string_view kRemoteFuse[] = {"fuse.sshfs",   "fuse.glusterfs", "fuse.ceph",  "fuse.s3fs",
                                              "fuse.juicefs", "fuse.gcsfuse",   "fuse.rclone"};
  return std::count(std::begin(kRemote), std::end(kRemote), type) > 0 ||
         std::count(std::begin(kRemoteFuse), std::end(kRemoteFuse), type) > 0;
}

RankFacts find_rank_facts(Job& job, const ServeOptions& options) {
  RankFacts facts;
  facts.host = job.host_name(job.rank());
  facts.local_rank = local_rank(job);
  facts.mpi = job.mpi();
  facts.binary = build_id();
  find_cores(job, facts);
  find_network(options, facts);
  find_limits(options, facts);
  const Gpus gpus = find_gpus();
  facts.gpus = gpus.names;
  facts.no_gpus = gpus.why_none;
  facts.model = find_model(options.model);
  const int timeout_ms = options.startup_timeout_s * 1000;
  job.barrier("looking at the ranks", timeout_ms);
  facts.clock_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  facts.control_fault = try_control(job, timeout_ms);
  facts.link = try_link(job, timeout_ms);
  return facts;
}

}  // namespace echelon
