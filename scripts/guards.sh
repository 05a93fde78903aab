#!/usr/bin/env bash
# The layers, as dependencies: who may depend on what. Fails with the first breach.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "guards: $*" >&2; exit 1; }

tree() { cargo tree --quiet --edges normal --prefix none "$@" 2>/dev/null | sed 's/ v[0-9].*//' | sort -u; }

# The core is pure: nothing that waits, talks or draws.
for banned in tokio redis rand reqwest poem tracing; do
  if tree -p taskweir-domain | grep -qx "$banned"; then fail "taskweir-domain must not depend on $banned"; fi
done

direct() { # direct PACKAGE: its own normal dependencies
  cargo tree --quiet --edges normal --prefix none --depth 1 -p "$1" 2>/dev/null | tail -n +2 | sed 's/ v[0-9].*//'
}

packages=$(cargo metadata --no-deps --format-version 1 | grep -o '"name":"taskweir[a-z-]*","version"' | sed 's/"name":"//; s/".*//' | sort -u)
for package in $packages; do
  for dependency in $(direct "$package"); do
    case "$dependency" in
      # The checker reads Redis by itself: it must not share a mistake with the store.
      redis) [[ "$package" =~ ^taskweir-(store|loadtest)$ ]] || fail "only taskweir-store and the checker may depend on $dependency, not $package" ;;
      bb8 | bb8-redis) [ "$package" = taskweir-store ] || fail "only taskweir-store may depend on $dependency, not $package" ;;
      taskweir-store | taskweir-domain) [ "$package" != taskweir-loadtest ] || fail "the checker must share no code with $dependency" ;;
      maud) [ "$package" = taskweir-dashboard ] || fail "only taskweir-dashboard may depend on maud, not $package" ;;
      poem-openapi) [ "$package" = taskweir-gateway ] || fail "only taskweir-gateway may depend on poem-openapi, not $package" ;;
      taskweir-testkit) fail "taskweir-testkit is for tests, not for $package" ;;
    esac
  done
done
# What runs any process knows nothing of what Taskweir is: reading the environment is all that it shares.
if direct taskweir-runtime | grep -v '^taskweir-env$' | grep -q '^taskweir'; then fail "taskweir-runtime must know none of ours"; fi
if direct taskweir-env | grep -q '^taskweir'; then fail "taskweir-env must know none of ours"; fi

# Every outside dependency says why it is there, in the comment above it, and somebody uses it.
awk '/^\[/ {on = ($0 == "[workspace.dependencies]")} on && /^[a-z]/ && !/^taskweir-/ && last !~ /^#/ {print; bad=1} {last=$0} END {exit bad}' \
  Cargo.toml || fail "a dependency without a reason above it"
for manifest in libs/*/Cargo.toml services/*/Cargo.toml loadtest/Cargo.toml; do
  dir=$(dirname "$manifest")
  for dependency in $(sed -n '/dependencies\]/,/^$/ s/^\([a-z0-9-]*\)\.workspace.*/\1/p' "$manifest"); do
    grep -rqE "\b${dependency//-/_}(::|;|!)" "$dir" --include='*.rs' --include=README.md \
      || fail "$manifest: $dependency is not used"
  done
done

# Sizes: small files, one idea each.
while read -r lines file; do
  [ "$lines" -le 600 ] || fail "$file has $lines lines; the ceiling is 600 without tests"
done < <(git ls-files -co --exclude-standard '*.rs' | grep -v /tests/ | xargs wc -l | grep -v ' total$')
main=$(wc -l < services/taskweir/src/main.rs)
[ "$main" -le 60 ] || fail "main.rs has $main lines; the ceiling is 60"

# Every test that a document names exists.
for name in $(grep -oE '`[a-z0-9]+(_[a-z0-9]+){3,}`' docs/PEER-BEHAVIOURS.md | tr -d '`' | sort -u); do
  grep -rqE "fn $name\b" libs services loadtest --include='*.rs' || fail "docs/PEER-BEHAVIOURS.md names a test $name that is not there"
done

# A row that is kept has a test named after it.
while IFS='|' read -r _ row _ _ tests _; do
  number=$(printf 'peer_%02d_' "${row// /}")
  [ -z "${tests// /}" ] || [[ $tests == *$number* ]] || fail "docs/PEER-BEHAVIOURS.md: row $row has no test $number…"
done < <(grep -E '^\| [0-9]+ \|' docs/PEER-BEHAVIOURS.md)

# Each migration is published with the crate that runs it.
for file in migrations/*.lua; do
  [ "libs/store/$file" -ef "$file" ] || fail "$file is not in libs/store/migrations"
done

# Every setting that a help text names is explained.
for name in $(grep -oE '\b[A-Z]+(_[A-Z]+)+\b' services/taskweir/src/help.rs | sort -u); do
  grep -q "\`[^|]*\b$name\b" docs/settings.md || grep -qE "^(pub|const|static).* $name\b" services/taskweir/src/help.rs \
    || fail "docs/settings.md does not explain $name"
done

echo "guards: layers and sizes hold"
