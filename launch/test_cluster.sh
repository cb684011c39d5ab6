#!/usr/bin/env bash
# A real SLURM cluster on this machine, for trying things out and for the tests:
#
#   launch/test_cluster.sh start FOLDER    four nodes of four GPUs that are given out but not there
#   . FOLDER/environment                   SLURM's commands then speak to it
#   launch/test_cluster.sh stop FOLDER
#
# Needs root and Debian's packages: slurm-wlm slurmdbd munge mariadb-server. All it writes lies in
# FOLDER; a configuration in /etc/slurm is neither read nor changed, and another cluster may run on
# the machine, whose FIRST_PORT is to be another where both start at once. With ACCOUNTING=no there
# is no database: sacct does not answer, as on many clusters.
#
# Partitions: debug; high, whose jobs take the nodes away from those in debug; apart, a node that
# sees an empty folder where the others see FOLDER/shared.
set -euo pipefail
[[ $# == 2 && $1 =~ ^(start|stop)$ ]] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
action=$1
mkdir -p "$2"
C=$(cd "$2" && pwd)
ACCOUNTING=${ACCOUNTING:-yes}
NODES="node1 node2 node3 node4 node5"
export SLURM_CONF=$C/slurm.conf
PATH=$PATH:/usr/sbin:/sbin  # where the daemons are

fail() { echo "test_cluster.sh: $1" >&2; tail -n 60 "$C"/log/*.log >&2 2> /dev/null || true; exit 1; }

wait_for() {  # wait_for WHAT SECONDS COMMAND...: until the command succeeds
  local what=$1 deadline=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$what did not come up"
    sleep 0.1
  done
}

is_alive() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }  # a zombie is not

is_taken() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

choose_ports() {  # beside those of another cluster
  for ((PORT = ${FIRST_PORT:-6817}; PORT < 9817; PORT += 100)); do
    is_taken $PORT || is_taken $((PORT + 2)) || return 0
  done
  fail "every port that SLURM might use is taken"
}

stop_daemons() {  # stop_daemons NAME...: by their pid files, all at once
  local name pid
  local -A pids=()
  for name in "$@"; do
    [[ ! -s $C/run/$name.pid ]] || pids[$name]=$(<"$C/run/$name.pid")
  done
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for name in "${!pids[@]}"; do
    pid=${pids[$name]}
    for _ in {1..100}; do is_alive "$pid" || break; sleep 0.1; done
    ! is_alive "$pid" || kill -9 "$pid" 2>/dev/null || true
    rm -f "$C/run/$name.pid"
  done
}

stop() {
  if [[ -s $C/run/slurmctld.pid ]]; then
    timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    for _ in {1..20}; do [[ -n $(timeout 5 squeue -h 2>/dev/null) ]] || break; sleep 0.5; done
  fi
  # shellcheck disable=SC2086
  stop_daemons ${NODES//node/slurmd-node} slurmctld
  stop_daemons slurmdbd
  stop_daemons mariadbd
  stop_daemons munged
}

configure() {
  local account
  mkdir -p "$C"/{state,spool,run,log,dev,shared,tmp}
  for i in 0 1 2 3; do [[ -e $C/dev/gpu$i ]] || mknod "$C/dev/gpu$i" c 1 3; done
  if [[ $ACCOUNTING == yes ]]; then
    account="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 2))
AccountingStorageTRES=gres/gpu
AccountingStoragePass=$C/run/munge.socket"
  else
    account="AccountingStorageType=accounting_storage/none"
  fi
  cat > "$C/slurm.conf" <<CONF
ClusterName=testcluster
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
MailProg=/bin/true
AuthType=auth/munge
CredType=cred/munge
# a job that is requeued waits this long for its former credential
AuthInfo=socket=$C/run/munge.socket,cred_expire=5
SlurmctldPort=$PORT
StateSaveLocation=$C/state
SlurmdSpoolDir=$C/spool/%n
SlurmctldPidFile=$C/run/slurmctld.pid
SlurmdPidFile=$C/run/slurmd-%n.pid
SlurmctldLogFile=$C/log/slurmctld.log
SlurmdLogFile=$C/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU,CR_LLN
GresTypes=gpu
JobRequeue=1
OverTimeLimit=0
KillWait=5
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=30
BatchStartTimeout=30
MessageTimeout=20
MaxArraySize=9
$account
NodeName=node[1-5] NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=[$((PORT + 4))-$((PORT + 8))] CPUs=8 RealMemory=64000 Gres=gpu:4 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=debug Nodes=node[1-4] Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=node[1-4] MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=apart Nodes=node5 MaxTime=INFINITE DefaultTime=60 State=UP
CONF
  echo "NodeName=node[1-5] Name=gpu File=$C/dev/gpu[0-3]" > "$C/gres.conf"
  (umask 077; cat > "$C/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$C/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
LogFile=$C/log/slurmdbd.log
PidFile=$C/run/slurmdbd.pid
CONF
  )
  printf 'export SLURM_CONF=%q\n' "$C/slurm.conf" > "$C/environment"
}

start_munge() {
  [[ -s $C/munge.key ]] || (umask 077; head -c 1024 /dev/urandom > "$C/munge.key")
  munged --force --key-file="$C/munge.key" --socket="$C/run/munge.socket" \
    --pid-file="$C/run/munged.pid" --log-file="$C/log/munged.log" --seed-file="$C/run/munged.seed"
  wait_for munged 10 munge --socket="$C/run/munge.socket" --no-input
}

start_accounting() {
  local data=$C/database
  export MYSQL_UNIX_PORT=$C/run/mariadbd.socket  # where slurmdbd looks for it
  local temporary=$C/tmp  # servers that start at once in one folder remove each other's tables
  if [[ ! -d $data ]]; then
    # as root: FOLDER may lie where no other user can go
    mariadb-install-db --no-defaults --user=root --datadir="$data" --skip-test-db \
      --tmpdir="$temporary" --auth-root-authentication-method=socket \
      > "$C/log/mariadb-install.log" 2>&1 \
      || fail "mariadb-install-db failed"
  fi
  mariadbd --no-defaults --user=root --datadir="$data" --tmpdir="$temporary" --socket="$MYSQL_UNIX_PORT" \
    --skip-networking --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    > "$C/log/mariadbd.log" 2>&1 < /dev/null &
  echo $! > "$C/run/mariadbd.pid"
  disown
  wait_for mariadbd 30 mariadb-admin --no-defaults --socket="$MYSQL_UNIX_PORT" ping
  slurmdbd
  wait_for slurmdbd 30 sacctmgr --noheader show cluster
  sacctmgr --immediate --quiet add cluster testcluster > /dev/null 2>&1 || true
}

start() {
  for program in munged slurmctld slurmd sbatch slurmdbd mariadbd; do
    command -v "$program" > /dev/null || fail "there is no $program:
apt-get install slurm-wlm slurmdbd munge mariadb-server"
  done
  [[ $(id -u) == 0 ]] || fail "needs root"
  [[ ! -s $C/run/slurmctld.pid ]] || fail "$C holds a cluster that was not stopped"
  choose_ports
  trap '(($? == 0)) || stop' EXIT
  configure
  start_munge
  [[ $ACCOUNTING != yes ]] || start_accounting
  slurmctld
  for node in node1 node2 node3 node4; do slurmd -N "$node"; done
  unshare --mount sh -c "mount -t tmpfs none '$C/shared' && exec slurmd -N node5"
  wait_for "the nodes" 60 nodes_are_idle
  srun --nodes=1 --job-name=probe true
  [[ $ACCOUNTING != yes ]] || wait_for accounting 30 probe_is_recorded
  echo "a cluster of four nodes is up; . $C/environment"
}

nodes_are_idle() { [[ $(sinfo -h -N -t idle -o %N | sort -u | wc -l) == 5 ]]; }
probe_is_recorded() { sacct --noheader --name=probe --format=State | grep -q COMPLETED; }

"$action"
