# Second program of the machine, process 1 with the host's files as its root: finishes the system, runs the job and
# sends output and exit status through three virtio ports:
#   /dev/vport?p1  the command's standard output, then the end mark
#   /dev/vport?p2  its standard error, then the end mark
#   /dev/vport?p3  control, by lines: "started", "ready UPTIME", then "exit STATUS"; or "fail REASON"

here=/run/barecell-svm
cd $here || exit 1

# The ports appear a moment after their driver is loaded. The first number in their names is that of the virtio device,
# which follows from the order of the devices on the bus.
tries=0
until control=$(echo /dev/vport?p3) && [ -c "$control" ] && [ -c "${control%3}1" ] && [ -c "${control%3}2" ]; do
  tries=$((tries + 1))
  if [ $tries -gt 100 ]; then
    echo "barecell-svm: no output ports" >/dev/console
    poweroff -f
  fi
  sleep 0.05
done
# A port can be open only once, so it is opened here and inherited.
exec 3>"${control%3}1" 4>"${control%3}2" 5<>"$control"

stop() {
  echo "$*" >&5
  # The host stops the machine when it has read everything.
  while :; do sleep 60; done
}

# An orphan must not run on when run.mjs is gone (killed, perhaps). A port whose host side is closed reads as at its end.
# But so does one that the host side has not reached yet, and only a write waits for it: hence the write first.
{ sleep 30; [ -e connected ] || poweroff -f; } 3>&- 4>&- 5>&- &
echo started >&5
: >connected
{ cat <&5 >/dev/null 5>&-; poweroff -f; } 3>&- 4>&- &

mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ln -sfn /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
hostname barecell-svm
ip link set lo up
ulimit -n 65536

[ -c /dev/kvm ] || stop "fail the kernel made no /dev/kvm: the emulated processor offers no SVM"
read -r npt </sys/module/kvm_amd/parameters/npt
[ "$npt" = Y ] || [ "$npt" = 1 ] || stop "fail kvm-amd works without nested paging (npt=$npt), which is what the tests are about"
read -r uptime _ </proc/uptime
echo "ready $uptime" >&5

# Pipes between the command and the ports, so that the command sees what it sees under any test runner: a port cannot be
# opened again through /dev/stdout, and Node treats a character device unlike a pipe.
mkfifo out err
{ cat; cat end-mark; : >out.done; } <out >&3 3>&- 4>&- 5>&- &
pump_out=$!
{ cat; cat end-mark; : >err.done; } <err >&4 3>&- 4>&- 5>&- &
pump_err=$!

# The host's shell: busybox's would put its own commands before the host's.
/bin/sh job.sh </dev/null >out 2>err 3>&- 4>&- 5>&-
status=$?

# What the command left running may hold the pipes open for ever. Two seconds for the rest, then it is cut off.
tries=0
until [ -e out.done ] && [ -e err.done ]; do
  tries=$((tries + 1))
  if [ $tries -gt 20 ]; then
    for stream in out err; do
      [ -e $stream.done ] && continue
      eval "kill -9 \$pump_$stream"
    done
    [ -e out.done ] || cat end-mark >&3
    [ -e err.done ] || cat end-mark >&4
    break
  fi
  sleep 0.1
done
stop "exit $status"
