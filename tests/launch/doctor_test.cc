// `echelon doctor`: what it makes of the facts of ranks, what it prints, and how facts travel. Trying the links is a
// system test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <functional>

#include "kernels/base/error.h"
#include "launch/doctor/report.h"
#include "launch/doctor/this_rank.h"
#include "launch/doctor_options.h"
#include "parallel/local/single_job.h"

namespace echelon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RankFacts healthy(const std::string& host, int local_rank) {
  RankFacts facts;
  facts.host = host;
  facts.local_rank = local_rank;
  facts.mpi = "Open MPI v4.1.4, MPI_THREAD_SERIALIZED";
  facts.binary = "ab";
  facts.isa = "avx2";
  facts.cores_given = facts.cores = "0-7";
  facts.num_cores = facts.num_cores_of_ranks = 8;
  facts.num_cores_of_host = 8;
  facts.free_bytes = int64_t{8} << 30;
  facts.numa_nodes = "0";
  facts.no_gpus = "no CUDA driver";
  facts.interfaces = {"eth0 10.0.0.1"};
  facts.address = "10.0.0.1";
  facts.shm_free_bytes = int64_t{1} << 30;
  facts.open_files = 1024;
  facts.open_files_hard = 65536;
  facts.locked_bytes = -1;
  facts.processes = -1;
  facts.connections = 1024;
  facts.clock_us = 1'000'000'000;
  facts.model = {.path = "/m.gguf", .file_system = "ext4", .is_remote = false, .num_bytes = 7, .fault = ""};
  return facts;
}

/// Two hosts with two ranks each.
std::vector<RankFacts> healthy_ranks() {
  std::vector<RankFacts> ranks{healthy("n1", 0), healthy("n1", 1), healthy("n2", 0), healthy("n2", 1)};
  for (size_t i = 1; i < ranks.size(); ++i) ranks[i].link = {i == 2 ? "MPI" : "shared memory", 2.5, 3e9, ""};
  return ranks;
}

std::vector<Finding> faults_with(const std::function<void(std::vector<RankFacts>&)>& spoil) {
  std::vector<RankFacts> ranks = healthy_ranks();
  spoil(ranks);
  return find_faults(ranks, 1024);
}

/// Exactly one finding.
void expect_one(const std::function<void(std::vector<RankFacts>&)>& spoil, bool is_error, const std::string& what,
                const std::string& cure) {
  const auto found = faults_with(spoil);
  ASSERT_EQ(found.size(), 1u) << what;
  EXPECT_EQ(found[0].is_error, is_error) << what;
  EXPECT_THAT(found[0].what, HasSubstr(what));
  EXPECT_THAT(found[0].cure, HasSubstr(cure));
}

using Ranks = std::vector<RankFacts>&;

TEST(Doctor, HealthyRanksLackNothing) { EXPECT_THAT(find_faults(healthy_ranks(), 1024), IsEmpty()); }

TEST(Doctor, WhatPreventsAStartIsAnError) {
  expect_one([](Ranks r) { r[3].model = {.fault = "no such file"}; }, true,
             "rank 3 (n2): cannot open the model: no such", "path");
  expect_one([](Ranks r) { r[0].shm_free_bytes = r[1].shm_free_bytes = 1 << 10; }, true,
             "ranks 0-1: /dev/shm has 0 MiB free", "--shm-size");
  expect_one([](Ranks r) { r[2].address_fault = "only loopback"; }, true, "only loopback", "--control-interface");
  expect_one([](Ranks r) { r[2].control_fault = "no word of rank 3"; }, true, "no word of rank 3", "firewall");
  expect_one(
      [](Ranks r) {
        for (auto& each : r) each.link.fault = "not in time";
      },
      true, "all ranks: no link", "--ipc=host");
  expect_one([](Ranks r) { r[1].binary = "cd"; }, true, "different programs: ab on ranks 0,2-3; cd on rank 1 (n1)",
             "same build");
  expect_one([](Ranks r) { r[2].model.num_bytes = 8; }, true, "different models", "same files");
}

TEST(Doctor, OneHostNeedsNoNetwork) {
  std::vector<RankFacts> ranks{healthy("n1", 0), healthy("n1", 1)};
  ranks[0].address_fault = ranks[1].address_fault = "only loopback";
  EXPECT_THAT(find_faults(ranks, 1024), IsEmpty());
  std::vector<RankFacts> alone{healthy("n1", 0)};
  alone[0].shm_free_bytes = 0;
  alone[0].mpi.clear();
  EXPECT_THAT(find_faults(alone, 1024), IsEmpty()) << "one rank has no window";
}

TEST(Doctor, WhatSlowsItDownIsAWarning) {
  expect_one([](Ranks r) { r[1].cores_given = "3"; }, false, "bound it to one core; it took 0-7", "--bind-to none");
  expect_one([](Ranks r) { r[1].num_cores = 1; }, false, "one core of the host's 8", "--cpus-per-task");
  expect_one([](Ranks r) { r[1].core_quota = 1.5; }, false, "1.5 cores' worth of time to 8", "--threads");
  expect_one([](Ranks r) { r[2].num_cores_of_ranks = r[3].num_cores_of_ranks = 1; }, false,
             "ranks 2-3: 2 ranks share 1 cores", "OMPI_MCA_mpi_yield_when_idle=1");
  expect_one(
      [](Ranks r) {
        r[0].model.is_remote = true;
        r[0].model.file_system = "nfs4";
      },
      false, "network (nfs4)", "sbcast");
  expect_one(
      [](Ranks r) {
        r[0].fabrics = {"mlx5_0"};
        r[0].locked_bytes = 65536;
      },
      false, "64 KiB", "ulimit -l");
  expect_one([](Ranks r) { r[2].processes = 199; }, false, "may have 199", "ulimit -u");
  expect_one([](Ranks r) { r[0].connections = 704; }, false, "704 of 1024 connections", "ulimit -Hn");
  expect_one([](Ranks r) { r[3].mpi = "Open MPI v5"; }, false, "different versions of MPI", "same Open MPI");
  expect_one([](Ranks r) { r[3].isa = "avx512"; }, false, "different instruction sets", "slowest");
  expect_one([](Ranks r) { r[2].clock_us += 1'500'000; }, false, "the clock of n2 is 1.5 s before that of n1",
             "chronyc");
}

TEST(Doctor, NotEverythingThatIsSmallIsAFault) {
  EXPECT_THAT(faults_with([](Ranks r) { r[0].locked_bytes = 65536; }), IsEmpty()) << "no fabric";
  EXPECT_THAT(faults_with([](Ranks r) { r[1].connections = 1; }), IsEmpty()) << "rank 0 alone has clients";
  EXPECT_THAT(faults_with([](Ranks r) { r[2].clock_us += 900'000; }), IsEmpty());
  EXPECT_THAT(faults_with([](Ranks r) { r[2].core_quota = 8; }), IsEmpty());
  EXPECT_THAT(faults_with([](Ranks r) {
                for (auto& each : r) each.num_cores_of_ranks = 1, each.yields = true;
              }),
              IsEmpty());
}

TEST(Doctor, PrintsErrorsFirstAndARowForEachRank) {
  DoctorReport report{.ranks = healthy_ranks(), .findings = {}};
  EXPECT_FALSE(report.has_errors());
  EXPECT_THAT(
      doctor_text(report),
      AllOf(HasSubstr("4 ranks on 2 hosts; Open MPI v4.1.4"), HasSubstr("n2: eth0 10.0.0.1"),
            HasSubstr("3     1      n2    0-7    8   8.0 GiB      0     avx2  none  shared memory, 2.5 us, 3.0 GB/s"),
            HasSubstr("on ext4 (local)"), HasSubstr("0 errors, 0 warnings")));
  report.ranks[1].isa = "bf16";
  report.ranks[1].model.fault = "gone";
  report.findings = find_faults(report.ranks, 2000);
  EXPECT_TRUE(report.has_errors());
  const std::string text = doctor_text(report);
  EXPECT_LT(text.find("error: rank 1 (n1): cannot open the model: gone\n  cure: "), text.find("warning: "));
  EXPECT_THAT(text, HasSubstr("1 error, 2 warnings"));
  const auto json = boost::json::parse(doctor_json(report));
  EXPECT_EQ(json.at("errors"), 1);
  EXPECT_EQ(json.at("warnings"), 2);
  EXPECT_EQ(json.at("ranks").as_array().size(), 4u);
  EXPECT_EQ(json.at("findings").at(0).at("error"), true);
}

TEST(Doctor, FactsComeBackAsTheyWent) {
  RankFacts before = healthy_ranks()[2];
  before.gpus = {"a \"GPU\""};
  before.fabrics = {"mlx5_0"};
  const std::string text = boost::json::serialize(to_json(before));
  const RankFacts after = parse_rank_facts(text);
  EXPECT_EQ(boost::json::serialize(to_json(after)), text);
  EXPECT_EQ(after.link.us, 2.5);
  EXPECT_EQ(after.gpus, before.gpus);
  for (const std::string bad : {"", "{}", "[]", "{\"host\": 3}"}) EXPECT_THROW(parse_rank_facts(bad), Error) << bad;
  EXPECT_THROW(parse_rank_facts(text.substr(0, text.size() / 2)), Error);
}

TEST(Doctor, FindsWhatAPathIsMountedOn) {
  const std::string mounts =
      "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
      "2 1 0:5 / /data rw shared:1 master:2 - nfs4 server:/x rw\n"
      "3 2 0:6 / /data/my\\040models rw - lustre a@tcp:/l rw\n"
      "4 1 0:7 / /data/deep rw - tmpfs tmpfs rw\n"
      "nonsense\n";
  EXPECT_EQ(find_mount(mounts, "/home/m.gguf").type, "ext4");
  EXPECT_EQ(find_mount(mounts, "/data/m.gguf").type, "nfs4");
  EXPECT_EQ(find_mount(mounts, "/data/my models/m").type, "lustre");
  EXPECT_EQ(find_mount(mounts, "/data/deeper").type, "nfs4");
  EXPECT_EQ(find_mount(mounts, "/data/deep").point, "/data/deep");
  EXPECT_EQ(find_mount("", "/x").type, "");
  EXPECT_TRUE(is_remote_type("nfs4"));
  EXPECT_TRUE(is_remote_type("fuse.sshfs"));
  EXPECT_FALSE(is_remote_type("fuse.fuse-overlayfs"));
  EXPECT_FALSE(is_remote_type("ext4"));
}

TEST(Doctor, LooksAtThisProcess) {
  SingleJob job;
  ServeOptions options;
  options.model = "/nowhere/model.gguf";
  const RankFacts facts = find_rank_facts(job, options);
  EXPECT_EQ(facts.host, job.host_name(0));
  EXPECT_EQ(facts.mpi, "");
  EXPECT_GT(facts.num_cores, 0);
  EXPECT_GE(facts.num_cores_of_host, facts.num_cores);
  EXPECT_GT(facts.free_bytes, 0);
  EXPECT_NE(facts.binary, "");
  EXPECT_THAT(facts.model.fault, HasSubstr("/nowhere/model.gguf"));
  EXPECT_THAT(facts.interfaces, testing::Not(IsEmpty()));
  EXPECT_EQ(facts.control_fault, "");
  EXPECT_EQ(facts.link.fault, "");
}

TEST(Doctor, TakesServesOptionsAndNeedsNoModel) {
  EXPECT_EQ(parse_doctor({}, {}).options.serve.model, "");
  const DoctorOptions options = parse_doctor({"m", "-tp", "2", "--json"}, {}).options;
  EXPECT_EQ(options.serve.model, "m");
  EXPECT_TRUE(options.json);
  EXPECT_THROW(parse_doctor({"--jsn"}, {}), Error);
}

}  // namespace
}  // namespace echelon
