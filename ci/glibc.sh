#!/usr/bin/env bash
# The tests of mobile homes on other versions of glibc. One program, linked against the oldest version, runs
# with the loader and the library of each: those of Debian's packages, from the mirror that this machine is
# configured for. Prints a table. Skips a version, with the reason, if its packages cannot be downloaded.
# `ci/glibc.sh SUITE...` takes other suites than these, the oldest first; one of them has to be bullseye or
# later.
. "$(dirname "$0")/common.sh"

[ "$(uname -sm)" = "Linux x86_64" ] || { echo "skipped: only for Linux on x86-64"; exit 0; }
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 0; }
done
suites=("$@")
[ $# -gt 0 ] || suites=(bullseye bookworm trixie sid experimental)
folder=$PWD/${CARGO_TARGET_DIR:-target}/glibc
keys=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian main //p' | head -1)
[ -n "$mirror" ] || { echo "skipped: no mirror of Debian is configured"; exit 0; }

# Unpacks packages of a suite into its folder, unless they are there.
fetch() { # suite package...
    local suite=$1 at=$folder/$1 name
    shift
    if [ ! -e "$at/complete" ]; then
        rm -rf "$at"
        mkdir -p "$at"/{lists/partial,cache/archives/partial,packages,root}
        echo "deb [signed-by=$keys] $mirror $suite main" >"$at/sources.list"
        local options=(-qq -o Dir::Etc::sourcelist="$at/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$at/lists"
            -o Dir::State::status=/dev/null -o Dir::Cache="$at/cache" -o APT::Sandbox::User=root)
        timeout 200 apt-get "${options[@]}" update >"$at/log" 2>&1 || return 1
        for name in "$@"; do
            (cd "$at/packages" && timeout 200 apt-get "${options[@]}" download "$name" >>"$at/log" 2>&1) && continue
            # A suite that has no GCC of its own uses that of the one before.
            [ "$name" = libgcc-s1 ] && [ ${#found[@]} -gt 0 ] || return 1
            cp "$folder/${found[-1]}/packages/$name"_*.deb "$at/packages"
        done
        # In newer releases `lib` is a link to `usr/lib`, which the packages take for granted.
        if [ -z "$(dpkg-deb -c "$at"/packages/libc6_*.deb | grep ' \./lib/')" ]; then
            mkdir -p "$at/root/usr/lib" "$at/root/usr/lib64"
            ln -s usr/lib "$at/root/lib"
            ln -s usr/lib64 "$at/root/lib64"
        fi
        for name in "$at"/packages/*.deb; do dpkg-deb -x "$name" "$at/root"; done
        # Absolute links mean this folder's files, not this machine's.
        find "$at/root" -type l -lname '/*' -printf '%p\0%l\0' | while IFS= read -rd '' name; do
            read -rd '' target
            ln -sfn "$at/root$target" "$name"
        done
        touch "$at/complete"
    fi
}

found=()
for suite in "${suites[@]}"; do
    packages=(libc6 libgcc-s1)
    [ ${#found[@]} -gt 0 ] || packages+=(libc6-dev)
    if fetch "$suite" "${packages[@]}"; then
        found+=("$suite")
    else
        echo "skipped: $suite: its packages cannot be downloaded:" \
            "$(grep -m1 '^[EW]:' "$folder/$suite/log" | sed 's#[a-z]*://[^ ]*#(address)#g')"
    fi
done
[ ${#found[@]} -gt 0 ] || { echo "skipped: there is no version to test"; exit 0; }

# The loader and the libraries are found through a link, so that one program serves for all. It must be what
# the kernel starts, not an argument of the loader's: tests start themselves again.
current=$folder/current
libraries=$current/lib/x86_64-linux-gnu
oldest=$folder/${found[0]}/root
ln -sfn "$oldest" "$current"
program=$(within 900 cargo rustc --test homes --profile test --message-format json -- \
    -C link-arg="--sysroot=$oldest" -C link-arg="-B$oldest/usr/lib/x86_64-linux-gnu" \
    -C link-arg="-L$oldest/usr/lib/x86_64-linux-gnu" -C link-arg="-L$oldest/lib/x86_64-linux-gnu" \
    -C link-arg="-Wl,--dynamic-linker=$libraries/ld-linux-x86-64.so.2" \
    -C link-arg="-Wl,-rpath=$libraries" -C link-arg=-Wl,--disable-new-dtags |
    sed -n 's/.*"executable":"\([^"]*homes-[^"]*\)".*/\1/p')
[ -x "$program" ]

table="| Debian's suite | glibc | mobile homes | tests passed | failed |
|---|---|---|---|---|"
failed=0
for suite in "${found[@]}"; do
    ln -sfn "$folder/$suite/root" "$current"
    version=$(sed -n 's/.*stable release version \([0-9.]*[0-9]\).*/\1/p' \
        <(grep -a 'stable release version' "$libraries"/libc.so.6))
    echo "--- $suite: glibc $version"
    homes=$({ "$program" --exact kernel::homes_are_supported_or_the_reason --nocapture 2>&1 || true; } |
        sed -n 's/.*mobile homes: //p')
    SWARD_HOMES=auto timeout 600 "$program" --test-threads 2 >"$folder/$suite/output" 2>&1 || {
        failed=1
        grep -E '^(test .* FAILED|thread .* panicked)' "$folder/$suite/output" || tail -5 "$folder/$suite/output"
    }
    # The last line is the program's; those before it are of tests that start themselves again.
    result=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 | \2/p' \
        "$folder/$suite/output" | tail -1)
    table+=$'\n'"| $suite | $version | ${homes:-?} | ${result:-none \| ended early} |"
done
echo "$table"
exit $failed
