#!/usr/bin/env bash
# Builds the image, brings the composed stack up, runs the curls of the README's walk against it, kills workers and Redis in it
# under load, and holds what is left against the log. Prints what it does; ends with 0 where all held. Needs an engine and a
# compose plugin (or COMPOSE=docker-compose). STAND_INS=1: no image comes from a registry (images.sh, stand-ins.yml).
set -euo pipefail
cd "$(dirname "$0")/../.."
project=taskweir-check
files=(-f docker-compose.yml)
if [ "${STAND_INS:-0}" = 1 ]; then
  scripts/compose/images.sh
  files+=(-f scripts/compose/stand-ins.yml)
  export BUILDER_IMAGE=taskweir-test/builder RUNTIME_IMAGE=taskweir-test/slim
fi
# Anonymous, as at a first try: no .env of this directory is read.
export TASKWEIR_ALLOW_ANONYMOUS=1 TASKWEIR_API_KEYS=
compose() { ${COMPOSE:-docker compose} -p "$project" --env-file /dev/null "${files[@]}" "$@"; }
walk=$(mktemp)
down() { rm -f "$walk"; compose down --volumes --timeout 5 >/dev/null 2>&1 || true; }
trap down EXIT

step() { printf '\n# %s\n' "$*"; }
took() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f s\n", b - a }'; }
containers() { compose ps -q "$1"; }
fail() { echo "compose: $*" >&2; compose ps -a >&2; compose logs --tail 40 >&2; exit 1; }
# until_true WHAT SECONDS COMMAND...: waits, with a deadline.
until_true() {
  local what=$1 deadline=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "not within time: $what"
    sleep 0.2
  done
}
taskweir() { docker run --rm --network "${project}_default" -e REDIS_URL=redis://redis:6379 -e TASKWEIR_URL=http://gateway:8000 "$image" "$@"; }

image=taskweir:${TASKWEIR_VERSION:-0.1.0}
step "docker compose up -d --build"
start=$(date +%s.%N)
if ! compose up -d --build >/dev/null 2>"$walk"; then
  grep -q 'requires buildx' "$walk" || { tail -n 20 "$walk" >&2; fail "up --build"; }
  # Compose builds by a newer buildx than is here; the engine alone knows BuildKit too.
  echo "without buildx: docker build, then docker compose up -d"
  DOCKER_BUILDKIT=1 docker build -q -t "$image" ${BUILDER_IMAGE:+--build-arg BUILDER_IMAGE="$BUILDER_IMAGE"} \
    ${RUNTIME_IMAGE:+--build-arg RUNTIME_IMAGE="$RUNTIME_IMAGE"} . >/dev/null
  compose up -d --no-build >/dev/null 2>&1 || fail "up"
fi
took "$start"
docker image inspect "$image" --format 'user {{.Config.User}}, {{.Size}} bytes'
until_true "the gateway is ready" 60 curl -fs localhost:8000/health/ready
until_true "the dashboard answers" 60 curl -fs localhost:5001/health/live
compose ps --format '{{.Service}} {{.Status}}'

step "the curls of the README's walk"
awk '/^## A walk with curl/ { on = 1 } /^## Many at once/ { on = 0 } /^```/ { sh = ($0 == "```sh"); next } on && sh' README.md |
  sed -e '/redis-cli/d' -e 's/^curl -s /curl -sw "\\n" /' > "$walk"
bash -v "$walk" 2>&1
walked=$(curl -s localhost:8000/stats)
echo "$walked" | grep -q '"removed":1' || fail "the walk did not end as the README says: $walked"

step "Prometheus scrapes every service"
targets() { curl -s 'localhost:9090/api/v1/query?query=sum(up)' | grep -q '"7"'; }
until_true "seven targets are up" 60 targets
curl -s 'localhost:9090/api/v1/query?query=sum(up)by(job)'; echo

step "spans arrive"
# By the stand-in's output, or by Jaeger's own API.
spans() { compose logs jaeger 2>&1 | grep -q taskweir-worker || curl -fs localhost:16686/api/services | grep -q taskweir-worker; }
until_true "the traces of a worker arrive" 60 spans

step "the dashboard leads to a task's trace"
id=$(curl -fs localhost:8000/tasks -H 'Content-Type: application/json' -d '{"type":"echo"}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
traced() { curl -fs "localhost:5001/tasks/$id" | grep -o 'href="http://localhost:16686/trace/[0-9a-f]*"'; }
until_true "the page of a task has a link to its trace" 30 traced
traced | head -n 1

step "two of three workers are killed at work"
for _ in $(seq 12); do
  curl -fs localhost:8000/tasks -H 'Content-Type: application/json' -d '{"type":"sleep","data":{"seconds":2}}' >/dev/null
done
running() { curl -s localhost:8000/stats | grep -q '"processing":\([1-9]\)'; }
until_true "tasks are at work" 10 running
for worker in $(containers worker | head -n 2); do docker kill "$worker"; done
taskweir loadtest --count 3000 --mix process=8,echo=1,fail=1 2>/dev/null || fail "the load test"

step "Redis is killed"
docker kill "$(containers redis)"
unready() { [ "$(curl -s -o /dev/null -w '%{http_code}' localhost:8000/health/ready)" = 503 ]; }
until_true "the gateway says so" 20 unready
curl -s -w ' %{http_code}\n' localhost:8000/tasks -H 'Content-Type: application/json' -d '{"type":"echo"}'
docker start "$(compose ps -aq redis)" >/dev/null; start=$(date +%s.%N)
until_true "the gateway is ready again" 60 curl -fs localhost:8000/health/ready; took "$start"
taskweir loadtest --count 300 2>/dev/null || fail "the load test after it"

step "what is left is held against the log"
# What the killed workers held comes back once its lease has passed.
quiet() { curl -s localhost:8000/stats | grep '"totals":{[^}]*"pending":0,"processing":0' | grep -q '"redeliveries":[1-9]'; }
until_true "what the killed workers held ran elsewhere" 90 quiet
taskweir verify
curl -s localhost:8000/stats; echo
step "with keys, as .env gives them"
export TASKWEIR_ALLOW_ANONYMOUS=0 TASKWEIR_VIEWER_SECRET=the-secret-of-prometheus
export TASKWEIR_API_KEYS=app:submitter:the-secret-of-the-app,prometheus:viewer:$TASKWEIR_VIEWER_SECRET
compose up -d --no-build >/dev/null 2>&1 || fail "up with keys"
answers() { curl -s -o /dev/null -w '%{http_code}' localhost:8000/tasks -H 'Content-Type: application/json' "$@" -d '{"type":"echo"}'; }
refused() { [ "$(answers)" = 401 ]; }
until_true "who shows no key is refused" 60 refused
[ "$(answers -H 'Authorization: Bearer the-secret-of-the-app')" = 202 ] || fail "the app is not let in"
until_true "seven targets are up by the viewer's secret" 90 targets
step "held"
