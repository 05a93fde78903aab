#!/usr/bin/env bash
# Makes the images of stand-ins.yml and the two bases of the Dockerfile from Debian's packages and this machine's Rust, where
# no registry of images can be reached. Needs root, an engine and debootstrap; makes what is missing only.
set -euo pipefail
suite=${SUITE:-bookworm}
# Where this machine gets its own packages from.
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

has() { docker image inspect "$1" >/dev/null 2>&1; }

# root DIRECTORY PACKAGES: a small Debian with these packages.
root() { debootstrap --variant=minbase --include="$2" "$suite" "$1" "$mirror" >"$1.log" 2>&1 || { tail -n 20 "$1.log" >&2; exit 1; }; }

# import DIRECTORY IMAGE CHANGE...: an image of a directory.
import() {
  local from=$1 image=$2; shift 2
  tar -C "$from" --exclude=./var/cache/apt/archives/*.deb -c . | docker import "${@/#/--change=}" - "$image" >/dev/null
  rm -rf "$from"; echo "images: $image"
}

if ! has taskweir-test/slim; then root "$work/slim" ca-certificates; import "$work/slim" taskweir-test/slim; fi

if ! has taskweir-test/redis; then
  root "$work/redis" redis-server,redis-tools
  mkdir -p "$work/redis/data"; chroot "$work/redis" chown redis:redis /data
  import "$work/redis" taskweir-test/redis 'USER redis' 'VOLUME /data' 'WORKDIR /data'
fi

if ! has taskweir-test/prometheus; then
  root "$work/prometheus" prometheus
  mkdir -p "$work/prometheus/prometheus"; chroot "$work/prometheus" chown nobody /prometheus
  import "$work/prometheus" taskweir-test/prometheus 'USER nobody' 'VOLUME /prometheus'
fi

if ! has taskweir-test/otlp; then
  root "$work/otlp" python3,python3-pip
  python3 -m pip download --quiet --dest "$work/otlp/wheels" --only-binary=:all: \
    --python-version "$(chroot "$work/otlp" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" oteltest
  chroot "$work/otlp" pip3 install --quiet --break-system-packages --no-index --find-links /wheels oteltest
  import "$work/otlp" taskweir-test/otlp 'ENTRYPOINT ["otelsink"]'
fi

if ! has taskweir-test/builder; then
  root "$work/builder" gcc,libc6-dev,ca-certificates
  cp -r "$(rustc --print sysroot)" "$work/builder/usr/local/rust"
  # As cargo is set up here: a mirror of crates, and whom it trusts.
  mkdir -p "$work/builder/usr/local/cargo"
  cp "${CARGO_HOME:-$HOME/.cargo}"/config.toml "$work/builder/usr/local/cargo/" 2>/dev/null || true
  cp /etc/ssl/certs/ca-certificates.crt "$work/builder/etc/ssl/certs/ca-certificates.crt"
  import "$work/builder" taskweir-test/builder 'ENV PATH=/usr/local/rust/bin:/usr/bin:/bin' 'ENV CARGO_HOME=/usr/local/cargo' 'ENV CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt'
fi
