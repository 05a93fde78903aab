#!/usr/bin/env bash
# On a node of a cluster, with scripts marked so that Redis refuses every key of another slot, declared or not: the tests that
# call each script at least once, and a look that they did. Such nodes have no replicas by hand, and refuse marked scripts
# whole when memory is full.
set -euo pipefail
cd "$(dirname "$0")/.."
called=$(mktemp -d); trap 'rm -rf "$called"' EXIT
export TASKWEIR_SCRIPTS_CALLED=$called TASKWEIR_SABOTAGE=strict-slots TEST_REDIS_CLUSTER=1 PARTITIONS=4
${CARGO:-cargo} nextest run --workspace ${NEXTEST_FLAGS:-} \
  -E '(package(=taskweir-store) + package(=taskweir-projector) + (package(=taskweir-gateway) & test(operations::)))
      - test(failover::) - test(durability::) - test(with_memory_full) - test(a_full_redis)'
for script in libs/store/src/lua/*.lua; do
  name=$(basename "$script" .lua)
  [ "$name" = prelude ] || [ -e "$called/$name" ] || { echo "slots: no test has called $name" >&2; missing=1; }
done
[ -z "${missing:-}" ] && echo "slots: every script was called, with keys of one slot each"
