#!/usr/bin/env bash
# Packs what is published, as `cargo publish` would, and tells what a manifest lacks; with `verify` it also builds what is packed.
set -euo pipefail
cd "$(dirname "$0")/.."
crates=()
for manifest in $(grep -l '^publish = true' libs/*/Cargo.toml); do
  crates+=(-p "taskweir-$(basename "$(dirname "$manifest")")")
  [ -s "$(dirname "$manifest")/README.md" ] || { echo "package: $(dirname "$manifest") has no README.md" >&2; exit 1; }
done
how=--no-verify; [ "${1:-}" != verify ] || how=
said=$(cargo publish --dry-run --allow-dirty $how "${crates[@]}" 2>&1) || { echo "$said" >&2; exit 1; }
if grep -q '^warning: manifest' <<<"$said"; then grep -A2 '^warning: manifest' <<<"$said" >&2; exit 1; fi
echo "package: $(grep -c '^    Packaged' <<<"$said") crates packed"
