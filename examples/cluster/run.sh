#!/usr/bin/env bash
# The engine, two nodes, and HAProxy in front of them: "run.sh nats" or "run.sh redis". Ctrl-C ends all of them.
set -euo pipefail
cd "$(dirname "$0")"

engine=${1:-nats}
export FRONT=${FRONT:-127.0.0.1:7000} NODE1=${NODE1:-127.0.0.1:7001} NODE2=${NODE2:-127.0.0.1:7002}
trap 'trap - INT TERM; kill $(jobs -p) 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM
set -m # a process group for each program: Ctrl-C is this script's alone, and a second signal would cut off the stop of a node

case $engine in
nats)
    export ENGINE=${ENGINE:-127.0.0.1:4222}
    nats-server -a "${ENGINE%:*}" -p "${ENGINE##*:}" &
    ;;
redis)
    export ENGINE=${ENGINE:-127.0.0.1:6379}
    redis-server --bind "${ENGINE%:*}" --port "${ENGINE##*:}" --save "" &
    ;;
*)
    echo "run.sh nats, or run.sh redis" >&2
    exit 2
    ;;
esac
CHAT=$NODE1 RPC=${RPC1:-tcp://127.0.0.1:6001} rrtcp serve -c "$engine.rr.yaml" &
CHAT=$NODE2 RPC=${RPC2:-tcp://127.0.0.1:6002} rrtcp serve -c "$engine.rr.yaml" &
haproxy -f haproxy.cfg &
wait -n
