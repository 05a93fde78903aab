#!/usr/bin/env bash
# Measures POST /tasks over 64 connections by a release build for each promise of docs/DURABILITY.md, with the
# server of SERVER (redis-server of the machine unless told otherwise; WAITAOF needs Redis 7.2 or later).
set -euo pipefail
cd "$(dirname "$0")/.."
server=${SERVER:-redis-server}; dir=$(mktemp -d); pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; pids=(); }
trap 'stop; rm -rf "$dir"' EXIT
port=7391; export REDIS_URL="redis://127.0.0.1:$port" RUST_LOG=error GATEWAY_ADDR=127.0.0.1:7392
redis() { # PORT, arguments
  # One left over, perhaps a replica that follows, would be measured too.
  if redis-cli -p "$1" PING >/dev/null 2>&1; then echo "durability: port $1 is taken" >&2; exit 1; fi
  mkdir -p "$dir/$1"
  "$server" --port "$1" --bind 127.0.0.1 --dir "$dir/$1" --appendonly yes --save "" --repl-diskless-sync-delay 0 \
    --loglevel warning "${@:2}" >/dev/null & pids+=($!)
  until redis-cli -p "$1" PING 2>/dev/null | grep -q PONG; do sleep 0.05; done
}
cat > "$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.body = '{"type":"echo","data":"hello-world"}'
wrk.headers["Content-Type"] = "application/json"
LUA
measure() { # appendfsync, DURABILITY, 1 = with a replica
  rm -rf "$dir/$port" "$dir/$((port + 9))"
  redis "$port" --appendfsync "$1"; local note=; [ "$3" = 0 ] || note=", with a replica"
  if [ "$3" = 1 ]; then
    redis "$((port + 9))" --appendfsync "$1" --replicaof 127.0.0.1 "$port"
    until redis-cli -p "$((port + 9))" INFO replication | grep -q master_link_status:up; do sleep 0.05; done
  fi
  target/release/taskweir migrate >/dev/null
  DURABILITY=$2 target/release/taskweir gateway & pids+=($!)
  until curl -sf "$GATEWAY_ADDR/health/ready" >/dev/null 2>&1; do sleep 0.05; done
  echo "appendfsync $1, DURABILITY=$2${note}: $(wrk -t1 -c64 -d5s --latency -s "$dir/post.lua" "http://$GATEWAY_ADDR/tasks" \
    | grep -E 'Requests/sec|50%|99%|Non-2xx' | tr -s ' ' | tr '\n' ' ')"
  stop
}
"$server" --version
for mode in no everysec always; do measure "$mode" aof 0; done
measure everysec aof 1
measure everysec replicas:1 1
if [ "${WAITAOF:-0}" = 1 ]; then
  measure everysec fsync 0
  measure always fsync 0
  measure always fsync+replicas:1 1
fi
