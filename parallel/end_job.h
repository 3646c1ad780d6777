// The one path by which a rank ends the whole job, and the guard against outliving its launcher.
#pragma once

#include <string>

#include "parallel/control_channel.h"

namespace echelon {

inline constexpr int kJobFailedExitCode = 1;

/// Prints one line to stderr, "echelon: rank R on HOST ends the job: CAUSE", and ends every rank: through MPI when it
/// runs, else by leaving this process with kJobFailedExitCode. From any thread; only the first call of a process
/// prints. Never returns and runs no destructors. When MPI itself hangs, the process is killed after two seconds.
[[noreturn]] void end_job(const std::string& cause);

/// Tells the neighbours in the star first (a message `failure` with the cause), so that none takes this rank's end for
/// a fault to report, then ends the job from a thread of its own. May be called by a handler of the channel; returns.
/// Does nothing when the job is ending already.
void end_job_everywhere(ControlChannel& control, int num_ranks, const std::string& cause);

/// What a rank that is told `failure` calls: it ends without a word of its own; rank 0 passes the message on first.
/// Returns.
void leave_ended_job(ControlChannel& control, int num_ranks, const std::string& cause);

/// A worker leaves alone: what becomes of the job is for rank 0 to say, and without recovery its launcher ends it.
/// Prints "echelon: rank R on HOST leaves the job: CAUSE". From any thread; runs no destructors.
[[noreturn]] void leave_job(const std::string& cause);

/// For a worker that has found rank 0 gone. All workers see that at the same moment: rank 1 speaks, the others end the
/// job a moment later without a word.
[[noreturn]] void end_job_after_rank_0(const std::string& cause);

/// This process gets SIGKILL when its parent dies (Linux: the thread that started it). Only under a launcher; call it
/// early in main. Ends the process when the parent is gone already.
void die_with_parent();

/// How end_job reaches the other ranks; set by the part that talks to the launcher. Null: only this process.
void set_job_abort(void (*abort)(int exit_code));

}  // namespace echelon
