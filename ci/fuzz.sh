#!/usr/bin/env bash
# The fuzz targets of fuzz/, each for 10 seconds, or as many as the argument says. They are cargo-fuzz's as well: `cargo
# +nightly fuzz run timers`. Here cargo alone builds them, with the same instrumentation.
. "$(dirname "$0")/common.sh"
target=x86_64-unknown-linux-gnu
host=$(rustc -vV | sed -n 's/^host: //p')
[ "$host" = "$target" ] || { echo "skipped: only on $target"; exit 0; }
command -v c++ >/dev/null || { echo "skipped: no C++ compiler for libFuzzer"; exit 0; }
seconds=${1:-10}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
coverage+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="$coverage --cfg fuzzing -Zsanitizer=address -Ccodegen-units=1"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz" SWARD_CHECK=0 SWARD_STALL_REPORTS=0
within 2400 cargo build -q --release --manifest-path fuzz/Cargo.toml --target "$target"
failed=0
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
for source in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    # What it finds interesting goes to the first folder, and not into the repository.
    mkdir -p "$scratch/$name" "fuzz/artifacts/$name"
    within $((seconds + 900)) "$CARGO_TARGET_DIR/$target/release/$name" "$scratch/$name" "fuzz/corpus/$name" \
        -max_total_time="$seconds" -timeout=300 -rss_limit_mb=4096 -artifact_prefix="fuzz/artifacts/$name/" \
        >"$scratch/log" 2>&1 || { failed=1 && tail -40 "$scratch/log"; }
    echo "$name: $(grep -a -o 'Done [0-9]* runs in [0-9]* second' "$scratch/log" || echo FAILED)," \
        "$(grep -a -o 'cov: [0-9]*' "$scratch/log" | tail -1)"
done
exit $failed
