# For launch/run and the templates: SLURM_JOB_END_TIME, in seconds of Unix, from squeue where Slurm does not set it (22.05
# does not). A job without a limit has none. serve drains before it.
if [ -n "${SLURM_JOB_ID:-}" ] && [ -z "${SLURM_JOB_END_TIME:-}" ]; then
  end_time=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e 2>/dev/null | head -n 1 || true)
  if [ -n "$end_time" ] && end_time=$(date --date="$end_time" +%s 2>/dev/null); then export SLURM_JOB_END_TIME=$end_time; fi
fi
