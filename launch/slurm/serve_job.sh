# For the templates beside it: a server inside a Slurm job. Variables: ECHELON_HOME (the repository, else the folder of
# sbatch), ECHELON_LAUNCHER (srun, the default, or mpirun), ECHELON_PORT, ECHELON_HOST, ECHELON_API_KEY
# and every other option of serve; see launch/README.md.
set -euo pipefail
home=${ECHELON_HOME:-$SLURM_SUBMIT_DIR}
. "$home/launch/slurm/end_time.sh"

# address_and_key KEY_FILE   Other jobs may share the node: a port of this job's own, and a key, because every user of the
# cluster reaches it. A key file that is there is used as it is.
address_and_key() {
  export ECHELON_PORT=${ECHELON_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
  export ECHELON_HOST=${ECHELON_HOST:-0.0.0.0}
  case " $* " in *' --api-key'* | *' --no-api-key '*) return ;; esac
  [ -z "${ECHELON_API_KEY:-}${ECHELON_API_KEY_FILE:-}" ] || return 0
  key_file=$1
  if [ ! -s "$key_file" ]; then   # made aside and linked: of jobs that start together one wins, and all use its key
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$key_file.$SLURM_JOB_ID")
    ln "$key_file.$SLURM_JOB_ID" "$key_file" 2>/dev/null || true
    rm -f "$key_file.$SLURM_JOB_ID"
  fi
  ECHELON_API_KEY=$(cat "$key_file")
  export ECHELON_API_KEY
  echo "echelon: the API key is in $key_file"
}

# serve_job MODEL [options of serve]   Returns the server's exit code. SIGUSR1 and SIGTERM drain: scancel, preemption.
serve_job() {
  [ $# -gt 0 ] || { echo "usage: sbatch TEMPLATE MODEL [options of serve]" >&2; return 2; }
  local server code=0
  "$home/launch/run" -- serve "$@" &
  server=$!
  trap 'echo "echelon: draining"; kill -USR1 "$server" 2>/dev/null || true' USR1 TERM
  while kill -0 "$server" 2>/dev/null; do wait "$server" || true; done   # a trap ends a wait, not the server
  wait "$server" || code=$?
  return "$code"
}

# Has another job taken the nodes of this one?
preempted() { [[ $(scontrol --oneliner show job "$SLURM_JOB_ID") == *" PreemptTime="[0-9]* ]]; }
