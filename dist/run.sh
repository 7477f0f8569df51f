#!/usr/bin/env bash
# Runs a node from a checkout, with everything that it keeps in ./run.
#
#   dist/run.sh start DIR   starts purserd from DIR, applies examples/, stays until Ctrl-C; pods go on
#   dist/run.sh clean DIR   deletes the node's pods and ./run
#
# With RUN_ONCE=1 `start` stops by itself once it has shown the pods. With GPU=fake the node sees two GPUs that are made up.
set -euo pipefail

[ $# -eq 2 ] || {
    echo "usage: dist/run.sh start|clean DIR" >&2
    exit 2
}
bin=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
top=$PWD
run=$top/run
socket=$run/purser.sock
config=$run/purserd.toml
pid_file=$run/purserd.pid
socket_len_max=107 # bytes, without the closing zero: what the kernel takes

# The process id of purserd, once it was started.
purserd=

# Where Debian's containerd listens.
containerd_socket=/run/containerd/containerd.sock

say() { printf '%s\n' "$*"; }
fail() {
    printf 'make run: %s\n' "$*" >&2
    exit 1
}

# The process id of the purserd that runs in ./run, if one does. It may be another user's, or of a build before this.
running() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 0
    ! grep -zqxF -- "$config" "/proc/$pid/cmdline" 2>/dev/null || printf '%s' "$pid"
}

# Says whether containerd answers to this user.
containerd_answers() {
    [ -S "$containerd_socket" ] && [ -r "$containerd_socket" ] && [ -w "$containerd_socket" ] || return 1
    ! command -v ctr >/dev/null 2>&1 || timeout 5 ctr --address "$containerd_socket" version >/dev/null 2>&1
}

# Puts the stand-in for the driver's library into ./run, with a script of two GPUs. One that was changed there stays.
fake_gpus() {
    local library=$run/libnvidia-ml.so.1
    # A node that is still going down may have the old file open.
    cp --remove-destination "$bin/libpurser_fake_nvml.so" "$library"
    [ -e "$library.json" ] || cat >"$library.json" <<'JSON'
{
  "driver": "000.00-fake",
  "devices": [
    {
      "uuid": "GPU-fa4e0000-0000-0000-0000-000000000000",
      "model": "Fake GPU 80GB",
      "memory-total": 85899345920,
      "memory-used": [10737418240, 21474836480, 32212254720],
      "utilization": [15, 60, 95, 40],
      "temperature-c": [41, 55, 63, 52],
      "power-mw": [120000, 310000, 520000, 260000],
      "sm-clock-mhz": [1200, 1980, 1980, 1700],
      "slowed-by": [1, 0, 4, 0]
    },
    { "uuid": "GPU-fa4e0000-0000-0000-0000-000000000001", "model": "Fake GPU 80GB" }
  ]
}
JSON
    printf '\n[gpu]\nnvml-library = "%s"\n' "$library" >>"$config"
    say "the GPUs of this node are FAKE: they are what $library.json says"
}

write_config() {
    local runtime=process
    if containerd_answers; then runtime=containerd; fi
    mkdir -p "$run"
    chmod 0700 "$run"
    cat >"$config" <<TOML
# Written anew by each \`make run\`.
data-dir = "$run/data"

[api]
socket = "$socket"

[runtime]
default = "$runtime"
TOML
    say "pods that name no runtime run with: $runtime"
    if [ "${GPU-}" = fake ]; then fake_gpus; fi
}

# Starts purserd in a session of its own, so that Ctrl-C reaches this script alone and purserd is asked once.
launch() {
    write_config
    setsid "$bin/purserd" --config "$config" </dev/null >>"$run/purserd.log" 2>&1 &
    purserd=$!
    echo "$purserd" >"$pid_file"
    local waiter first=0
    "$bin/purser" status --wait >/dev/null 2>>"$run/purserd.log" &
    waiter=$!
    wait -n "$purserd" "$waiter" || first=$?
    if ! kill -0 "$purserd" 2>/dev/null; then
        kill "$waiter" 2>/dev/null || true
        tail -n 20 "$run/purserd.log" >&2
        fail "purserd ended with status $first; the lines above are from $run/purserd.log"
    fi
    [ "$first" -eq 0 ] || fail "purserd did not get ready (status $first); see $run/purserd.log"
}

# Asks purserd to stop and waits until it has.
halt() {
    trap '' INT TERM HUP
    local status=0
    kill -TERM "$purserd" 2>/dev/null || true
    wait "$purserd" || status=$?
    rm -f "$pid_file"
    purserd=
    [ "$status" -eq 0 ] || fail "purserd ended with status $status; see $run/purserd.log"
}

# However this script ends, no purserd stays behind that nobody looks after.
abandon() {
    [ -n "$purserd" ] && kill -0 "$purserd" 2>/dev/null || return 0
    kill -TERM "$purserd" 2>/dev/null || true
    wait "$purserd" || true
    rm -f "$pid_file"
}

say_stopped() {
    say
    say "purserd has stopped. Its pods go on: \`make run\` takes them over again."
    say "\`make clean-run\` deletes them and ./run."
}

finish() {
    halt
    say_stopped
    exit 0
}

# Has the example pool run with the agent of this build, and a task in one of its slots.
show_pool() {
    # The manifest as it is, but for where the agent lies.
    sed "s|command: \[purser-agent\]|command: [\"$bin/purser-agent\"]|" examples/pools/shell.yaml | "$bin/purser" apply -f -
    # shellcheck disable=SC2016 # the task's shell reads it
    "$bin/purser" submit shell --wait -- sh -c 'echo "hello from a slot, task $PURSER_TASK"'
    "$bin/purser" get pools
}

show_next_steps() {
    cat <<TEXT

Purser is ready. In another terminal, in this folder:

  export PATH="$bin:\$PATH" PURSER_SOCKET="$socket"
  purser get pods
  purser describe pod NAME
  purser logs NAME -f
  purser submit shell --wait -- env
  purser events
  purser-replay log

Its own messages: $run/purserd.log
TEXT
}

start() {
    trap finish INT TERM HUP
    launch
    "$bin/purser" apply -f examples/
    # One of them is enough to show that pods come up; what the others do on the way is for `purser get` to show.
    "$bin/purser" wait ticker --for=condition=Ready --timeout 120s
    "$bin/purser" get pods
    show_pool
    if [ "${GPU-}" = fake ]; then "$bin/purser" get gpus; fi
    show_next_steps
    if [ "${RUN_ONCE-}" = 1 ]; then finish; fi
    say "Ctrl-C stops purserd; its pods go on."
    local status=0
    wait "$purserd" || status=$?
    rm -f "$pid_file"
    purserd=
    if [ "$status" -eq 0 ]; then
        # Somebody asked it to.
        say_stopped
        exit 0
    fi
    tail -n 20 "$run/purserd.log" >&2
    fail "purserd ended by itself with status $status; see $run/purserd.log"
}

clean() {
    [ -d "$run" ] || {
        say "there is no ./run: nothing to delete"
        exit 0
    }
    trap finish INT TERM HUP
    launch
    local pools pods
    # First those that would make pods anew.
    pools=$("$bin/purser" get pools | awk 'NR > 1 { print $1 }')
    # shellcheck disable=SC2086 # a list of words
    [ -z "$pools" ] || "$bin/purser" delete pool $pools --force --wait
    pods=$("$bin/purser" get pods --all-namespaces | awk 'NR > 1 { print $1 "/" $2 }')
    # shellcheck disable=SC2086 # a list of words
    [ -z "$pods" ] || "$bin/purser" delete $pods --grace-period 2 --wait
    halt
    rm -rf "$run"
    say "the pods and ./run are deleted"
}

export PURSER_SOCKET=$socket
[ "${#socket}" -le "$socket_len_max" ] || fail "the path of this checkout is too long for a unix socket: $socket"
pid=$(running)
if [ -n "$pid" ]; then
    advice="with Ctrl-C where it was started, or: kill $pid"
    [ "$1" != clean ] || fail "a node still runs in ./run (pid $pid), nothing was deleted; stop it first, $advice"
    fail "it runs already (pid $pid); to start it anew, stop it $advice"
fi
[ -z "${GPU-}" ] || [ "$GPU" = fake ] || fail "GPU is \`$GPU\`: it can be \`fake\`, or be left out"
trap abandon EXIT
case $1 in
start) start ;;
clean) clean ;;
*) fail "there is no \`$1\`: start or clean" ;;
esac
