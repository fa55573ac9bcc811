#!/usr/bin/env bash
# Runs the guarded services of deploy/clients against a keyledger binary: run.sh BINARY
# Python's packages come from PyPI, TypeScript's from npm, those of Go and Java from Debian.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
binary=$(realpath "$1")
clients=$root/deploy/clients
# What a service needs that only authenticates; the test, which makes keys, needs all.
protos=$(printf 'keyledger/v1/%s.proto\n' authentication common key key_service)
all_protos=$(cd "$root/proto" && find keyledger/v1 -name '*.proto')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() { printf '  %s (%s s)\n' "$*" "$SECONDS"; }

step "packages of Go and Java"
packages=(golang-go golang-google-grpc-dev golang-google-protobuf-dev golang-github-golang-protobuf-1-5-dev
    protoc-gen-go protoc-gen-go-grpc protobuf-compiler default-jdk-headless libgrpc-java libnetty-java
    libperfmark-java libgoogle-gson-java libguava-java
    libgeronimo-annotation-1.3-spec-java libprotobuf-java protobuf-compiler-grpc-java-plugin)
if ! dpkg --status "${packages[@]}" >"$work/installed" 2>&1; then
    apt-get update --quiet >"$work/apt" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
            "${packages[@]}" >>"$work/apt" 2>&1 || { cat "$work/apt"; exit 1; }
fi

step "Python"
python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip install --quiet --requirement "$here/../python/requirements.txt"
mkdir "$work/stubs"
"$python" -m grpc_tools.protoc --proto_path="$root/proto" --python_out="$work/stubs" \
    --grpc_python_out="$work/stubs" --include_imports --descriptor_set_out="$work/protos.bin" $all_protos
# Debian's protoc is older than the option debug_redact: it is given the protos as a newer one reads them, without it.
"$python" - "$work/protos.bin" <<'PYTHON'
import sys
from pathlib import Path
from google.protobuf.descriptor_pb2 import FileDescriptorSet

path = Path(sys.argv[1])
protos = FileDescriptorSet.FromString(path.read_bytes())
for message in (message for file in protos.file for message in file.message_type):
    for field in message.field:
        field.options.ClearField("debug_redact")
path.write_bytes(protos.SerializeToString())
PYTHON

step "Go"
mkdir -p "$work/go/src"
protoc --descriptor_set_in="$work/protos.bin" --go_out="$work/go/src" --go-grpc_out="$work/go/src" $protos
test -z "$(gofmt -l "$clients/go")" || { gofmt -d "$clients/go"; exit 1; }
# Debian's packages are laid out for GOPATH.
export GO111MODULE=off GOPATH=$work/go:/usr/share/gocode GOCACHE=$work/go-cache GOFLAGS=-p=2
(cd "$clients/go" && go vet . && go build -o "$work/guarded-go" .)

step "Java"
jars=
for jar in grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} protobuf guava gson perfmark-api geronimo-annotation-1.3-spec \
    netty-{buffer,codec,codec-http,codec-http2,common,handler,resolver,transport}; do
    test -e "/usr/share/java/$jar.jar" || { echo "missing: /usr/share/java/$jar.jar"; exit 1; }
    jars=$jars:/usr/share/java/$jar.jar
done
mkdir "$work/java-src" "$work/java"
protoc --descriptor_set_in="$work/protos.bin" --java_out="$work/java-src" --grpc_java_out="$work/java-src" \
    --plugin=protoc-gen-grpc_java="$(command -v grpc_java_plugin)" $protos google/rpc/status.proto
javac -J-XX:TieredStopAtLevel=1 -nowarn -proc:none -d "$work/java" -cp "$jars" $(find "$work/java-src" "$clients/java" -name '*.java')

step "TypeScript"
mkdir "$work/typescript"
cp "$clients"/typescript/*.{ts,json} "$work/typescript"
(cd "$work/typescript" && npm install --silent --no-audit --no-fund && npm run --silent build)

export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/stubs:$clients/python:$here/../python
export GRPC_GO_RETRY=on # what releases since 1.40 do without
"$python" "$here/test_service_config.py"
"$python" "$here/test_guarded_services.py" "$binary" \
    "python: $python $clients/python/guarded_service.py" \
    "go: $work/guarded-go" \
    "java: java -Xshare:auto -XX:TieredStopAtLevel=1 -cp $work/java:$jars GuardedService" \
    "typescript: node $work/typescript/out/main.js"
