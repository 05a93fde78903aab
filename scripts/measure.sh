#!/usr/bin/env bash
# Rates of a release build on this machine: bulk enqueue by the library, drain of no-op tasks by one
# worker process with a projector beside it, POST /tasks over 64 connections, and memory per task.
# Redis keeps an append-only file synced every second. TASKS and RUNS may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
tasks=${TASKS:-50000}; runs=${RUNS:-5}
dir=$(mktemp -d); pids=()
cleanup() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT
port=7381; export REDIS_URL="redis://127.0.0.1:$port" RUST_LOG=warn
cli() { redis-cli -p "$port" "$@"; }
redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --appendonly yes --appendfsync everysec --save "" \
  --loglevel warning >/dev/null & pids+=($!)
until cli PING >/dev/null 2>&1; do sleep 0.05; done
bin=target/release/taskweir

settle() { # waits for the projector to come to the end of the log
  until [ "$(cli --raw GET "$(cli --raw KEYS '*checkpoint*')")" = "$(cli --raw XREVRANGE "$(cli --raw KEYS '*:log')" + - COUNT 1 | head -1)" ]; do sleep 0.1; done
}

for run in $(seq "$runs"); do
  cli FLUSHALL >/dev/null
  $bin migrate >/dev/null
  $bin projector & projector=$!; pids+=("$projector")
  before=$(cli --raw INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
  RUST_LOG=error target/release/examples/drain "$REDIS_URL" "$tasks" 100
  settle
  after=$(cli --raw INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
  [ "$run" = "$runs" ] && echo "memory per completed task, views included: $(( (after - before) / tasks )) bytes"
  kill "$projector"; wait "$projector" 2>/dev/null || true
done

if command -v wrk >/dev/null; then
  cli FLUSHALL >/dev/null; $bin migrate >/dev/null
  GATEWAY_ADDR=127.0.0.1:7382 RUST_LOG=error $bin gateway & pids+=($!)
  until curl -sf 127.0.0.1:7382/health/ready >/dev/null 2>&1; do sleep 0.05; done
  cat > "$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.body = '{"type":"echo","data":"hello-world"}'
wrk.headers["Content-Type"] = "application/json"
LUA
  wrk -t1 -c64 -d5s --latency -s "$dir/post.lua" http://127.0.0.1:7382/tasks | grep -E 'Requests/sec|50%|99%|Non-2xx' || true
fi
