#!/usr/bin/env bash
# Writes k8s/deployment.yaml from the kustomize base; with `check`, sees that it is what it would write.
set -euo pipefail
cd "$(dirname "$0")/.."
# One kubectl for all: each renders a little otherwise.
kubectl=target/tools/manifests/bin/kubectl
[ -x "$kubectl" ] || scripts/install-tools.sh manifests
render() {
  echo "# Made by \`make k8s\` from k8s/overlays/dev; change that instead. The whole system: kubectl apply -f k8s/deployment.yaml"
  "$kubectl" kustomize k8s/overlays/dev
}
if [ "${1:-}" = check ]; then
  diff <(render) k8s/deployment.yaml >/dev/null || { echo "render-k8s: k8s/deployment.yaml is old: run make k8s" >&2; exit 1; }
else
  cp prometheus/alerts.yml k8s/base/alerts.yml
  render > k8s/deployment.yaml
fi
