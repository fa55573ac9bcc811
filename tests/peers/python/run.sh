#!/usr/bin/env bash
# Runs the Python client and the second verifier against a keyledger binary: run.sh BINARY
# Makes its own virtual environment and generates its stubs from proto/ into a temporary directory.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
binary=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
mkdir "$work/stubs"
"$work/venv/bin/python" -m grpc_tools.protoc --proto_path="$root/proto" \
    --python_out="$work/stubs" --grpc_python_out="$work/stubs" \
    $(cd "$root/proto" && find keyledger/v1 keyledger/ledger/v1/record.proto -name '*.proto')
for program in tour.py test_verify_history.py; do
    PYTHONPATH="$work/stubs:$root/deploy/clients/python" PYTHONDONTWRITEBYTECODE=1 "$work/venv/bin/python" "$here/$program" "$binary"
done
