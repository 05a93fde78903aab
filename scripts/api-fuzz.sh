#!/usr/bin/env bash
# Drives the API from its own OpenAPI document with odd input, and by clients that generators make from it: no 500, no undocumented answer, bodies
# and headers as documented. The feed has no end and is left out. EXAMPLES and SEED may be set; the same seed asks the same.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD; dir=$(mktemp -d)
cargo build --quiet --bin taskweir
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
gateway=$(port); dashboard=$(port); redis=$(port)
cd "$dir"
env -u REDIS_URL GATEWAY_ADDR="127.0.0.1:$gateway" DASHBOARD_ADDR="127.0.0.1:$dashboard" TASKWEIR_DEV_REDIS_PORT="$redis" \
  RUST_LOG=error "$root/target/debug/taskweir" dev >dev.log 2>&1 &
pid=$!
cleanup() { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; cd "$root"; rm -rf "$dir"; }
trap cleanup EXIT
for _ in $(seq 300); do
  curl -sf "127.0.0.1:$gateway/health/ready" >/dev/null 2>&1 && break
  sleep 0.1
done
"$root/target/tools/schemathesis/bin/st" run "http://127.0.0.1:$gateway/openapi.json" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method \
  --exclude-path /events \
  --max-examples "${EXAMPLES:-40}" --seed "${SEED:-1}" >st.log 2>&1 || { cat st.log; cat dev.log; exit 1; }
grep -E 'generated' st.log
# What real users of the document make of it, as it is served.
curl -sf "127.0.0.1:$gateway/openapi.json" >openapi.json
"$root/scripts/clients.sh" openapi.json "$root/target/tools/clients" "http://127.0.0.1:$gateway" >clients.log 2>&1 ||
  { cat clients.log; exit 1; }
grep -E ' as documented| in both languages' clients.log
