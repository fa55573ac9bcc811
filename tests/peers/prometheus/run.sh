#!/usr/bin/env bash
# Runs a real Prometheus with the rules and the dashboard of deploy/ against a keyledger binary: run.sh BINARY
# Installs what is missing: Debian's package prometheus, which has promtool too (as root).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
deploy=$here/../../../deploy/prometheus
binary=$(realpath "$1")

if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    apt-get update --quiet
    apt-get install --yes --quiet --no-install-recommends prometheus
fi
promtool check rules "$deploy/alerts.yml"
promtool check config "$deploy/prometheus.yml"
promtool test rules "$here/alerts_test.yml"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here/../proxies
python3 "$here/scraped.py" "$binary" "$(command -v prometheus)" "$(command -v promtool)"
