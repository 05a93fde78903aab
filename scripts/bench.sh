#!/usr/bin/env bash
# Measures a release build on this machine, against a Redis of its own that keeps an append-only file
# synced every second, with a projector running:
# bulk enqueue by the library and drain of no-op tasks by one worker process (RUNS times TASKS tasks,
# each run verified against its log), memory per pending and per completed task with its views and after
# retention has cut them from the log,
# POST /tasks over 64 connections, memory of gateway and worker beside PENDING waiting tasks, and, in a log of EVENTS events, the history of one task, the counts of
# an instant, `taskweir verify` and `taskweir rebuild`.
set -euo pipefail
cd "$(dirname "$0")/.."
tasks=${TASKS:-50000}; runs=${RUNS:-5}; events=${EVENTS:-1000000}
dir=$(mktemp -d); pids=()
cleanup() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT
port=7381; export REDIS_URL="redis://127.0.0.1:$port" RUST_LOG=error GATEWAY_ADDR=127.0.0.1:7382
cli() { redis-cli -p "$port" --raw "$@"; }
redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --appendonly yes --appendfsync everysec --save "" \
  --loglevel warning >/dev/null & pids+=($!)
until cli PING >/dev/null 2>&1; do sleep 0.05; done
bin=target/release/taskweir

fresh() { cli FLUSHALL >/dev/null; $bin migrate >/dev/null; }
used() { cli INFO memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p'; }
settle() { # waits for the projector to come to the end of the log
  until [ "$(cli GET "$(cli KEYS '*checkpoint*')")" = "$(cli XREVRANGE "$(cli KEYS '*:log')" + - COUNT 1 | head -1)" ]; do
    kill -0 "$projector" || { echo "the projector ended"; exit 1; }
    sleep 0.1
  done
}
drain() { target/release/examples/drain "$REDIS_URL" "$@"; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

$bin migrate >/dev/null; METRICS_ADDR=127.0.0.1:7383 $bin projector & projector=$!; pids+=("$projector")
until curl -sf 127.0.0.1:7383/health/ready >/dev/null 2>&1; do sleep 0.05; done
for run in $(seq "$runs"); do
  fresh; before=$(used)
  drain "$tasks" 100 | tee -a "$dir/rates"
  settle
  $bin verify >/dev/null || { echo "run $run: verify found differences"; exit 1; }
done
echo "median of $runs: enqueue $(awk '{ sub("/s", ""); print $2 }' "$dir/rates" | median)/s, drain $(awk '{ sub("/s", "", $4); print $4 }' "$dir/rates" | median)/s"
trim() { # lets retention cut the whole log, and tells how fast
  local log; log=$(cli XLEN "$(cli KEYS '*:log')")
  RETENTION=1s $bin scheduler & scheduler=$!; pids+=("$scheduler")
  until [ "$(cli XLEN "$(cli KEYS '*:log')")" -lt "$log" ]; do sleep 0.01; done; local began; began=$(date +%s%N)
  until [ "$(cli XLEN "$(cli KEYS '*:log')")" = 0 ]; do sleep 0.05; done
  echo "retention cuts $(( log * 1000000000 / ($(date +%s%N) - began) )) events/s"
  kill "$scheduler"; wait "$scheduler" || true
}
echo "memory per completed task, views included: $(( ($(used) - before) / tasks )) bytes"
trim
echo "memory per completed task that retention has cut: $(( ($(used) - before) / tasks )) bytes"
fresh; before=$(used); drain "$tasks" 0 >/dev/null; settle
echo "memory per pending task, views included: $(( ($(used) - before) / tasks )) bytes"
trim
echo "memory per pending task whose first event retention has cut: $(( ($(used) - before) / tasks )) bytes"
$bin verify >/dev/null || { echo "verify found differences after the cuts"; exit 1; }

fresh; $bin gateway & gateway=$!; pids+=("$gateway")
until curl -sf "$GATEWAY_ADDR/health/ready" >/dev/null 2>&1; do sleep 0.05; done
cat > "$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.body = '{"type":"echo","data":"hello-world"}'
wrk.headers["Content-Type"] = "application/json"
LUA
figures() { grep -E 'Requests/sec|50%|99%|Non-2xx' | tr -s ' ' | tr '\n' ' '; echo; }
echo -n "POST /tasks, 64 connections: "
wrk -t1 -c64 -d5s --latency -s "$dir/post.lua" "http://$GATEWAY_ADDR/tasks" | figures

fresh; drain "$(( events / 3 ))" 100 >/dev/null; settle
log=$(cli XLEN "$(cli KEYS '*:log')")
id=$(curl -s "$GATEWAY_ADDR/tasks?limit=1" | sed 's/.*"id":"\([^"]*\)".*/\1/')
echo -n "history of one task among $log events, 1 connection: "
wrk -t1 -c1 -d3s --latency "http://$GATEWAY_ADDR/tasks/$id/history" | figures
cat > "$dir/instant.lua" <<'LUA'
local first, last = tonumber(os.getenv("FIRST")), tonumber(os.getenv("LAST"))
request = function()
  return wrk.format("GET", string.format("/stats?as_of=%.0f-0", math.random(first, last)))
end
LUA
edge() { cli "$1" "$(cli KEYS '*:log')" "$2" "$3" COUNT 1 | head -1 | cut -d- -f1; }
echo -n "stats of a random instant of it, 1 connection: "
FIRST=$(edge XRANGE - +) LAST=$(edge XREVRANGE + -) \
  wrk -t1 -c1 -d3s --latency -s "$dir/instant.lua" "http://$GATEWAY_ADDR" | figures
for command in verify rebuild; do
  began=$(date +%s%N); $bin $command | sed 1d
  echo "$command: $(( log * 1000000000 / ($(date +%s%N) - began) )) events/s"
done

# What waits must not weigh on those who serve it.
pending=${PENDING:-1000000}
fresh; drain "$pending" 0 >/dev/null; settle
$bin worker & worker=$!; pids+=("$worker")
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }
for path in stats queues health tasks?limit=500 metrics; do curl -sf "$GATEWAY_ADDR/$path" >/dev/null; done
sleep 2
echo "with $pending tasks submitted: gateway $(( $(rss "$gateway") / 1024 )) MiB, worker at work $(( $(rss "$worker") / 1024 )) MiB"
for pid in "$gateway" "$worker"; do
  [ "$(rss "$pid")" -lt 131072 ] || { echo "bench: process $pid takes more than 128 MiB" >&2; exit 1; }
done
export DASHBOARD_ADDR=127.0.0.1:7384; $bin dashboard & pids+=($!)
until curl -sf "$DASHBOARD_ADDR/health/live" >/dev/null 2>&1; do sleep 0.05; done
# Some that have given up, and an operation on many.
dead=20000; some='{"type":"fail","priority":"high","labels":{"customer":"7"},"data":{"fatal":true}}'
batch=$(printf "$some,%.0s" $(seq 500)); batch="{\"tasks\":[${batch%,}]}"
for _ in $(seq $(( dead / 500 ))); do
  curl -sf -o /dev/null "$GATEWAY_ADDR/tasks/batch" -H 'content-type: application/json' -d "$batch"
done
until curl -sf "$GATEWAY_ADDR/stats" | grep -q "\"failed\":$dead\b"; do sleep 0.2; done
operation=$(curl -sf "$GATEWAY_ADDR/tasks/cancel" -H 'content-type: application/json' -d '{"label":"customer=9"}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
echo "pages of the dashboard, ms (median of 5):"
first() { curl -s "$GATEWAY_ADDR/tasks?limit=1&$1" | sed 's/.*"id":"\([^"]*\)".*/\1/'; }
id=$(first status=pending); gone=$(first status=failed); hour=$(date -u +%Y-%m-%dT%H:%M:%SZ --date='1 hour ago')
for page in "" queues tasks "tasks?status=pending" "tasks?status=completed" "tasks?label=customer=7" "tasks?label=a=b" \
    "tasks?error=fatal" "tasks?priority=high" "tasks?priority=low" "tasks?worker=nobody" "tasks?q=fail" "tasks?q=nothing-like-it" \
    "tasks?created_before=$hour" "tasks?status=failed&type=fail&label=customer=7&q=${gone:0:10}" \
    "tasks/$id" "tasks/$gone" "tasks/$gone?event=1" tasks/new "tasks/new?from=$gone" \
    dlq "dlq?type=fail&error=fatal" "dlq?q=nothing-like-it" "dlq?failed_after=$hour" "bulk?kind=dlq_retry&type=fail" \
    "bulk?kind=tasks_cancel&queue=default" operations "operations/$operation" workers system; do
  took=$(for _ in 1 2 3 4 5; do curl -sf -o /dev/null -w '%{time_total}\n' "$DASHBOARD_ADDR/$page"; done | median | awk '{ printf "%.1f", $1 * 1000 }')
  echo "  $took /$page"
  [ "${took%.*}" -lt 50 ] || { echo; echo "bench: page /$page takes more than 50 ms" >&2; exit 1; }
done
