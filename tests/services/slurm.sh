#!/usr/bin/env bash
# A real Slurm on one machine: a controller and the nodes n1 and n2, without systemd, cgroups or accounting.
# Jobs in the partition `high` push those in `low`, the default one, back into the queue.
#
#   slurm.sh start DIR           install Debian's packages where they are absent (as root); start what isn't running
#   slurm.sh stop DIR            end all of it, also after half a start; DIR/log stays
#   slurm.sh kill-node DIR n1    SIGKILL to a node and all that runs on it, as when a machine loses power
#   slurm.sh start-node DIR n1   bring it back
#
# DIR/state and DIR/log are this script's own. SLURM_CONF=DIR/slurm.conf leads Slurm's commands to this cluster.
set -euo pipefail
PATH=$PATH:/usr/sbin
# shellcheck source-path=SCRIPTDIR source=daemons.sh
. "$(dirname "$0")/daemons.sh"

NODES=(n1 n2)

write_configuration() {
    local host user
    host=$(hostname -s) user=$(id -un)
    cat >"$SLURM_CONF" <<END
ClusterName=sync
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
# A job that was put back waits until its credential has expired, after 120 seconds if nothing is said.
AuthInfo=socket=$STATE/munge.socket,cred_expire=10
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=2
MinJobAge=3600
# So that the loss of a node is soon noticed.
SlurmdTimeout=10
# Nodes have the processors and the memory that are written here, whatever the machine has.
SlurmdParameters=config_overrides
StateSaveLocation=$STATE/slurmctld
SlurmdSpoolDir=$STATE/%n
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/%n.log
GresTypes=gpu
NodeName=DEFAULT CPUs=2 RealMemory=64000 Gres=gpu:1
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=5 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
END
    # A GPU that can be asked for, and is none.
    echo "Name=gpu File=/dev/null" >"$DIR/gres.conf"
}

# A node's daemon, what it starts jobs with (they keep its log open), and the jobs.
node_processes() {
    {
        find /proc/[0-9]*/fd -lname "$DIR/log/$1.log" || true # processes end meanwhile
        grep -lzsxF "SLURMD_NODENAME=$1" /proc/[0-9]*/environ |
            xargs --no-run-if-empty grep -lzsxF "SLURM_CONF=$SLURM_CONF"
    } 2>/dev/null | cut -d / -f 3 | sort -u
}

kill_node() {
    local processes
    while mapfile -t processes < <(node_processes "$1") && ((${#processes[@]})); do
        kill -KILL "${processes[@]}" 2>/dev/null || true
    done
}

start_node() {
    [ -e "$SLURM_CONF" ] || { echo "error: no cluster in $DIR: slurm.sh start $DIR" >&2; exit 1; }
    runs slurmd "$STATE/$1.pid" && return
    SLURMD_NODENAME=$1 slurmd -N "$1"
    wait_until 30 node_is_idle "$1" || { echo "error: node $1 isn't idle, see $DIR/log" >&2; exit 1; }
}

node_is_idle() {
    [ "$(sinfo --noheader --partition=low --nodes="$1" --format=%T 2>/dev/null)" = idle ]
}

is_up() {
    local node
    runs slurmctld "$STATE/slurmctld.pid" && runs munged "$STATE/munged.pid" || return 1
    for node in "${NODES[@]}"; do
        runs slurmd "$STATE/$node.pid" || return 1
    done
}

start() {
    local node
    umask 022 # munge's socket must be within everyone's reach
    mkdir -p "$DIR/log" "$STATE/slurmctld"
    mungekey --create --keyfile="$STATE/munge.key"
    munged --key-file="$STATE/munge.key" --seed-file="$STATE/munge.seed" --socket="$STATE/munge.socket" \
        --pid-file="$STATE/munged.pid" --log-file="$DIR/log/munged.log"
    write_configuration
    slurmctld -c
    for node in "${NODES[@]}"; do
        mkdir "$STATE/$node"
        start_node "$node"
    done
}

stop() {
    local node
    for node in "${NODES[@]}"; do
        kill_node "$node"
    done
    end slurmctld "$STATE/slurmctld.pid"
    end munged "$STATE/munged.pid"
    rm -rf "$STATE"
}

(($# >= 2)) || usage
DIR=$(realpath -m "$2")
STATE=$DIR/state
export SLURM_CONF=$DIR/slurm.conf
case $1 in
    start)
        install slurmctld slurm-wlm munge
        is_up || { stop && start; }
        ;;
    stop) stop ;;
    kill-node) kill_node "${3:?a node}" ;;
    start-node) start_node "${3:?a node}" ;;
    *) usage ;;
esac
