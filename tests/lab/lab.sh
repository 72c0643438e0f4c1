# shellcheck shell=bash disable=SC2034 # the constants are used by those who source this file
# Sourced by every script of the lab: where things live, and the words they share.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LAB/../.." && pwd)
LAB_DIR=${COG_LAB_DIR:-/var/lib/cog-lab}
LOGS=$LAB_DIR/logs
TRIXIE=$LAB_DIR/trixie/usr # Debian 13's dockerd and containerd, unpacked, not installed
ENGINE_PATH=$TRIXIE/sbin:$TRIXIE/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DEBIAN=http://deb.debian.org/debian

SOCKET=/var/run/docker.sock
EXEC_ROOT=/run/cog-lab
GATEWAY=172.17.0.1 # docker0's address: the host, seen from a container of the default bridge
MIRROR_PORT=8484
GPU_SOCKET=/run/cog-lab-gpu/docker.sock
GPU_EXEC_ROOT=/run/cog-lab-gpu
GPU_BRIDGE=cog-lab-gpu
GPU_GATEWAY=172.29.0.1
REGISTRY=127.0.0.1:5055

PYTHONS=(3.11 3.8 3.9 3.10 3.12 3.13) # 3.11 first: most tests need only that one
MIRRORED_PYTHONS=(3.10 3.11 3.12)
CUDA_TAGS=(
    12.4.1-base-ubuntu22.04
    12.4.1-cudnn-runtime-ubuntu22.04
    12.4.1-devel-ubuntu22.04
    11.8.0-cudnn8-runtime-ubuntu22.04
    12.6.3-cudnn-runtime-ubuntu24.04
)

# The product pins uv in one place; the lab follows it.
uv_pin=$(sed -n 's/^UV_VERSION[^=]*= *"\([^"]*\)".*/\1/p' "$REPO/cog_cli/versions.py" 2>/dev/null | head -1 || true)
UV_VERSION=${UV_VERSION:-${uv_pin:-0.13.9}}

mkdir -p "$LOGS"

# One script of the lab at a time (pytest's workers, two terminals); those that it calls itself are let through.
if [ -z "${COG_LAB_LOCKED:-}" ]; then
    exec 9>"$LAB_DIR/lock"
    flock 9
    export COG_LAB_LOCKED=1
fi

say() { printf 'lab: %s\n' "$*"; }

fail() {
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

# detach NAME COMMAND...: start a daemon that outlives this shell; its pid is in $LAB_DIR/NAME.pid, its log in $LOGS.
# Every inherited descriptor is closed: one pipe left open, and `up | cat` or CI's reader never sees the end.
detach() {
    local name=$1
    shift
    (
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
        done
        unset COG_LAB_LOCKED
        exec setsid "$@"
    ) </dev/null >"$LOGS/$name.log" 2>&1 &
    echo $! >"$LAB_DIR/$name.pid"
}

# await NAME SECONDS COMMAND...: until COMMAND succeeds; or say which log to read.
await() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -5 "$LOGS/$name.log" >&2 || true
            fail "$name does not answer. Its log: $LOGS/$name.log"
        fi
        sleep 0.1
    done
}

# is_running PIDFILE WORD: does that pid still belong to a command with WORD in it?  Pids are used again.
is_running() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q -- "$2"
}

# stop PIDFILE WORD: SIGTERM, twenty seconds, SIGKILL.
stop() {
    local pid tries=200
    is_running "$1" "$2" || return 0
    pid=$(cat "$1")
    kill "$pid"
    while is_running "$1" "$2"; do
        if [ $((tries -= 1)) -eq 0 ]; then kill -9 "$pid"; fi
        sleep 0.1
    done
    rm -f "$1"
}

# listens ADDRESS PORT
listens() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# The way out may carry less than Ethernet's 1500 bytes (1400 on the machine this was written on). A bridge that
# promises more makes downloads hang in the middle, not fail.
way_out_mtu() {
    local way_out
    way_out=$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)
    cat "/sys/class/net/${way_out:-none}/mtu" 2>/dev/null || echo 1500
}

# start_dockerd NAME SOCKET EXEC_ROOT OPTIONS...
# No pid file of its own: one that a SIGKILL left behind keeps the next dockerd from starting once its number is taken.
# The label is how `up` knows an engine that it may fill with stand-ins.
start_dockerd() {
    local name=$1 socket=$2 exec_root=$3
    shift 3
    PATH=${DOCKERD_PATH:-$ENGINE_PATH} detach "$name" \
        dockerd --host "unix://$socket" --data-root "$LAB_DIR/$name" --exec-root "$exec_root" --pidfile= \
        --label cog-lab=true --mtu "$(way_out_mtu)" "$@"
    await "$name" 60 docker -H "unix://$socket" version
}

# stop_dockerd NAME SOCKET EXEC_ROOT OPTIONS...: a SIGKILLed dockerd leaves its containers running. Only the next one ends
# them (20 s), so start one.
stop_dockerd() {
    if ! is_running "$LAB_DIR/$1.pid" dockerd && compgen -G "$3/containerd/daemon/io.containerd.runtime.v2.task/moby/*" >/dev/null; then
        start_dockerd "$@"
    fi
    stop "$LAB_DIR/$1.pid" dockerd
}
