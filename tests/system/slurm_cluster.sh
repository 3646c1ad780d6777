# For tests/system/slurm: a Slurm (Debian's packages) of two virtual nodes on this machine, and what its cases ask it.
# Needs root, and $root; no systemd, munge or cgroups. Sets lab, model and daemons.

[ "$(id -u)" = 0 ] || { echo "tests/system/slurm: needs root, to give each node a /tmp of its own" >&2; exit 1; }
"$root/launch/install" slurmctld slurmd slurm-client slurm-wlm-basic-plugins
model=$("$root/launch/fetch-model" smollm2)
lab=$(mktemp -d /var/tmp/echelon-slurm-XXXXXX)   # not in /tmp, which every node has its own of
export SLURM_CONF=$lab/slurm.conf
nodes=2
daemons=()
daemon_of=()   # by the number of a node

stop_cluster() {
  local daemon
  scancel --user=root 2>/dev/null || true
  for _ in $(seq 100); do [ -n "$(squeue --noheader 2>/dev/null || true)" ] || break; sleep 0.2; done
  for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
  for daemon in "${daemons[@]}"; do wait "$daemon" 2>/dev/null || true; done
}

free_ports() { python3 -c '
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])' "$1"; }

# Jobs of "urgent" take the nodes of others: of "main" these are queued again, of "spot" cancelled.
write_configuration() {
  local ports
  read -ra ports <<<"$(free_ports $((nodes + 1)))"
  cat >"$SLURM_CONF" <<CONF
ClusterName=echelon
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPidFile=$lab/slurmctld.pid
SlurmdPidFile=$lab/slurmd-%n.pid
SlurmdSpoolDir=$lab/spool/%n
StateSaveLocation=$lab/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
FirstJobId=$((RANDOM % 9000 + 1))
SlurmdTimeout=10
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=2 RealMemory=1000 State=UNKNOWN
$(for i in $(seq "$nodes"); do echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=${ports[i]}"; done)
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=main Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=spot PriorityTier=1 PreemptMode=CANCEL GraceTime=30
PartitionName=urgent PriorityTier=10 PreemptMode=OFF
CONF
}

# As after a boot: Slurm's pmix starts no step of a job again on a node where a killed step of the same number has left files.
# A host name, a /tmp and a /dev/shm for each node: Slurm's and Open MPI's files of two nodes would meet there. A
# repository or models below /tmp stay in sight.
start_node() {   # start_node NUMBER
  rm -rf "$lab/spool/n$1"
  mkdir -p "$lab/spool/n$1"
  unshare --mount --uts --ipc bash -c '
    set -e
    hostname "$1"
    mount --bind /tmp "$2/tmp"
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /dev/shm
    for kept in "$3" "$4"; do
      case $kept in /tmp/*) mkdir -p "$kept"; mount --bind "$2/tmp/${kept#/tmp/}" "$kept" ;; esac
    done
    exec slurmd -D -N "$1"' node "n$1" "$lab" "$root" "$(dirname "$model")" >>"$lab/slurmd-n$1.log" 2>&1 &
  daemons+=($!)
  daemon_of[$1]=$!
}
all_idle() { [ "$(sinfo --noheader --partition=main --states=idle --format=%D 2>/dev/null || true)" = "$nodes" ]; }

start_cluster() {
  local i
  mkdir -p "$lab/state" "$lab/spool" "$lab/tmp"
  write_configuration
  slurmctld -D >"$lab/slurmctld.log" 2>&1 &
  daemons+=($!)
  for i in $(seq "$nodes"); do start_node "$i"; done
  within 30 all_idle || { echo "tests/system/slurm: the nodes did not become idle" >&2; failures=1; exit 1; }
}

job_field() { scontrol --oneliner show job "$1" 2>/dev/null | grep -o " $2=[^ ]*" | head -n 1 | cut -d= -f2; }
job_ended() { case $(job_field "$1" JobState) in PENDING | RUNNING | COMPLETING | CONFIGURING) return 1 ;; esac; }
within() {   # within SECONDS COMMAND..: polls until it holds
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# Processes of echelon that carry a job's number in their environment; of one node with a second argument.
ranks_of_job() {
  local process
  for process in /proc/[0-9]*; do
    [ "$(basename "$(readlink "$process/exe" 2>/dev/null || true)")" = echelon ] || continue
    tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx "SLURM_JOB_ID=$1" || continue
    [ -z "${2:-}" ] || tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx "SLURMD_NODENAME=$2" || continue
    echo "${process#/proc/}"
  done
}
no_rank_left() { [ -z "$(ranks_of_job "$1")" ]; }
