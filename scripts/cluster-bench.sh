#!/usr/bin/env bash
# Measures a release build on a Redis Cluster of 1, 2 and 3 masters on this machine, by `taskweir loadtest`: COUNT tasks
# (20,000) of type echo over 64 connections, PARTITIONS (6), MASTERS ("1 2 3"), two workers of 50 hands.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d); pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT
export RUST_LOG=error GATEWAY_ADDR=127.0.0.1:7412 TASKWEIR_URL=http://127.0.0.1:7412 PARTITIONS=${PARTITIONS:-6}
measure() { # number of masters
  local nodes=()
  for index in $(seq "$1"); do
    local port=$((7400 + index)); mkdir -p "$dir/$1-$port"; nodes+=("127.0.0.1:$port")
    redis-server --port "$port" --bind 127.0.0.1 --dir "$dir/$1-$port" --appendonly yes --appendfsync everysec --save "" \
      --cluster-enabled yes --loglevel warning >/dev/null & pids+=($!)
    until redis-cli -p "$port" PING 2>/dev/null | grep -q PONG; do sleep 0.05; done
  done
  # `create` wants three at least: each is given its share of the slots by hand.
  for index in $(seq "$1"); do
    redis-cli -p $((7400 + index)) CLUSTER ADDSLOTSRANGE $(((index - 1) * 16384 / $1)) $((index * 16384 / $1 - 1)) >/dev/null
    redis-cli -p 7401 CLUSTER MEET 127.0.0.1 $((7400 + index)) >/dev/null
  done
  for node in "${nodes[@]}"; do
    until redis-cli -p "${node#*:}" CLUSTER INFO | grep -q cluster_state:ok &&
      redis-cli -p "${node#*:}" CLUSTER INFO | grep -q "cluster_known_nodes:$1"; do sleep 0.05; done
  done
  REDIS_URL="redis+cluster://$(IFS=,; echo "${nodes[*]}")"; export REDIS_URL
  target/release/taskweir migrate >/dev/null
  for service in gateway projector scheduler; do target/release/taskweir "$service" & pids+=($!); done
  for _ in 1 2; do WORKER_CONCURRENCY=50 target/release/taskweir worker & pids+=($!); done
  until curl -sf "$TASKWEIR_URL/health/ready" >/dev/null 2>&1; do sleep 0.05; done
  target/release/taskweir loadtest --count 1000 --connections 64 --mix echo >/dev/null 2>&1
  echo "== $1 masters, $PARTITIONS partitions"
  target/release/taskweir loadtest --count "${COUNT:-20000}" --connections 64 --mix echo
  stop
}
for masters in ${MASTERS:-1 2 3}; do measure "$masters"; done
