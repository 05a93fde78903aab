#!/usr/bin/env bash
# Dockerfile, compose and Kubernetes files: well-formed by their own schemas, and in agreement with the code.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/tools/manifests/bin; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"$tools/hadolint" Dockerfile
"$tools/docker-compose" config > "$dir/compose.yml"
cmp -s prometheus/alerts.yml k8s/base/alerts.yml || { echo "check-manifests: k8s/base/alerts.yml is old: run make k8s" >&2; exit 1; }
cp k8s/deployment.yaml "$dir/deployment.yaml"
rendered=("$dir/deployment.yaml")
# Older ones, such as Debian's, render otherwise.
if kubectl version --client -o yaml 2>/dev/null | grep -q 'kustomizeVersion: v5'; then
  scripts/render-k8s.sh check
  # As an operator would, who has filled in the secrets.
  cp -r k8s "$dir/k8s"
  for example in "$dir"/k8s/overlays/production/*.example; do mv "$example" "${example%.example}"; done
  kubectl kustomize "$dir/k8s/overlays/production" > "$dir/production.yaml"; rendered+=("$dir/production.yaml")
else
  echo "check-manifests: no kubectl with kustomize 5 is here: overlays are not rendered" >&2
fi
"$tools/kubernetes-validate" --strict "${rendered[@]}" > "$dir/validated" 2>&1 || { cat "$dir/validated" >&2; exit 1; }
"$tools/python" scripts/check-manifests.py "$dir/compose.yml" "${rendered[@]}"
echo "check-manifests: Dockerfile, compose and Kubernetes files hold"
