#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (60 unless told otherwise), or those named as arguments. Inputs that
# led somewhere new are kept under target/fuzz/corpus, and one that made a target fail is named at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
targets=("$@"); [ $# -gt 0 ] || targets=(events replies bodies cursors positions filters environment)
command -v c++ >/dev/null || { echo "fuzz: a C++ compiler is needed to build libFuzzer (Debian: g++)" >&2; exit 1; }

# What cargo-fuzz passes, without the sanitizers, which need a nightly compiler: there is no unsafe code here
# whose errors they would find.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
for part in inline-8bit-counters pc-table trace-compares; do flags+=" -Cllvm-args=-sanitizer-coverage-$part"; done
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and macros are not instrumented.
RUSTFLAGS="$flags -Ccodegen-units=1" cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz

for target in "${targets[@]}"; do
  corpus=target/fuzz/corpus/$target; mkdir -p "$corpus"
  seeds=(); [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
  echo "fuzz: $target for $seconds s"
  "target/fuzz/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="target/fuzz/$target-" "$corpus" "${seeds[@]}" 2> "target/fuzz/$target.log" \
    || { tail -n 40 "target/fuzz/$target.log" >&2; exit 1; }
  grep -E 'number_of_executed_units|new_units_added' "target/fuzz/$target.log" | tr -s ' ' | tr '\n' ' '; echo
done
