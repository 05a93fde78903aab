#!/usr/bin/env bash
# Dockerfile, compose and Kubernetes files: well-formed by their own schemas, and in agreement with the code.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools/manifests/bin; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"$tools/hadolint" Dockerfile
# As it is in a fresh clone: no .env of this directory is read.
"$tools/docker-compose" --env-file /dev/null config > "$dir/compose.yml"
"$tools/docker-compose" --env-file /dev/null -f docker-compose.yml -f scripts/compose/stand-ins.yml config >/dev/null
TASKWEIR_API_KEYS=ops:admin:a-secret-of-ops TASKWEIR_ALLOW_ANONYMOUS=0 "$tools/docker-compose" --env-file /dev/null config > "$dir/keys.yml"
cmp -s prometheus/alerts.yml k8s/base/alerts.yml || { echo "check-manifests: k8s/base/alerts.yml is old: run make k8s" >&2; exit 1; }
cp k8s/deployment.yaml "$dir/deployment.yaml"
rendered=("$dir/deployment.yaml")
scripts/render-k8s.sh check
# As an operator would, who has filled in the secrets.
cp -r k8s "$dir/k8s"
for example in "$dir"/k8s/overlays/production/*.example; do mv "$example" "${example%.example}"; done
"$tools/kubectl" kustomize "$dir/k8s/overlays/production" > "$dir/production.yaml"; rendered+=("$dir/production.yaml")
# With KEDA: it scales the workers, and nothing else says how many there are.
mkdir "$dir/k8s/overlays/scaled"
printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../dev]\ncomponents: [../../keda]\n' > "$dir/k8s/overlays/scaled/kustomization.yaml"
"$tools/kubectl" kustomize "$dir/k8s/overlays/scaled" > "$dir/scaled.yaml"
grep -q 'kind: ScaledObject' "$dir/scaled.yaml" || { echo "check-manifests: the KEDA component scales nothing" >&2; exit 1; }
! awk '/^---/ { worker = 0 } /^kind: Deployment/ { deployment = 1 } /^---/ { deployment = 0 } /^  name: worker$/ { worker = 1 } deployment && worker && /^  replicas:/ { found = 1 } END { exit !found }' "$dir/scaled.yaml" \
  || { echo "check-manifests: an apply would take KEDA's number of workers back" >&2; exit 1; }
"$tools/kubernetes-validate" --strict "${rendered[@]}" > "$dir/validated" 2>&1 || { cat "$dir/validated" >&2; exit 1; }
"$tools/python" scripts/check-manifests.py "$dir/compose.yml" "$dir/keys.yml" "${rendered[@]}"
echo "check-manifests: Dockerfile, compose and Kubernetes files hold"
