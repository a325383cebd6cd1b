#!/usr/bin/env bash
# The tests of mobile homes and of thread-local storage on AArch64, under qemu's emulation of a processor. Debian's
# cross compiler links them. Tests start themselves again, so the kernel has to start them under qemu: it does in a
# user namespace, which leaves no trace on the machine. What qemu cannot do is skipped and listed.
. "$(dirname "$0")/common.sh"
target=aarch64-unknown-linux-gnu
skip() {
    echo "skipped: $*"
    exit 0
}
[ "$(uname -sm)" = "Linux x86_64" ] || skip "only for Linux on x86-64; elsewhere run the tests as they are"
[ "$(id -u)" = 0 ] || skip "only root can map all users into a namespace"
missing=()
command -v aarch64-linux-gnu-gcc >/dev/null || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user-static)
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || skip "no apt-get to install ${missing[*]} with"
    reason=$({ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } 2>&1) ||
        skip "apt-get says: ${reason##*$'\n'}"
fi
qemu=$(command -v qemu-aarch64-static)
if ! compgen -G "$(rustc --print target-libdir --target "$target")/libcore-*" >/dev/null; then
    command -v rustup >/dev/null || skip "no standard library for $target, and no rustup"
    reason=$(timeout 120 rustup target add "$target" 2>&1) || skip "rustup target add: ${reason##*$'\n'}"
fi

# Runs a command where the kernel starts programs for AArch64 with qemu.
exec 3>&1
emulate() { # command...
    coproc emulated { exec unshare --user --mount bash -c '
        echo
        read -r
        mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 126
        printf %s "$0" >/proc/sys/fs/binfmt_misc/register || exit 126
        exec "$@" >&3 </dev/null' "$rule" "$@"; }
    local pid=$emulated_PID input=${emulated[1]}
    read -r <&"${emulated[0]}"
    # All users are the same inside.
    echo "0 0 4294967295" >"/proc/$pid/uid_map"
    echo "0 0 4294967295" >"/proc/$pid/gid_map"
    echo >&"$input"
    wait "$pid"
}
# The start of such a program's file. F: the kernel opens qemu now.
rule=':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
rule+=':\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'":$qemu:F"
emulate true || skip "a user namespace cannot choose how programs are started (Linux 6.7 or newer)"

export CARGO_TARGET_DIR=$PWD/${CARGO_TARGET_DIR:-target/aarch64}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
programs=$(within 900 cargo test --no-run --target "$target" --lib --test homes --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

# Tests compile libraries with `cc`.
tools=$CARGO_TARGET_DIR/tools
mkdir -p "$tools"
ln -sf "$(command -v aarch64-linux-gnu-gcc)" "$tools/cc"
export PATH=$tools:$PATH QEMU_LD_PREFIX=/usr/aarch64-linux-gnu SWARD_HOMES=auto

skips=()
leave_out() { # test, reason
    echo "skipped: $1: $2"
    skips+=(--skip "$1")
}
leave_out valgrind_is_refused "valgrind has no AArch64 here"
leave_out the_lender_blocks_all_signals_but_the_one_of_setuid "/proc shows the mask of qemu, not that of the program"
for test in privileges_are_given_up_inside all_threads_change_users_together; do
    leave_out "$test" "qemu has a thread of its own, which does not change users with the others"
done
failed=0
for program in $programs; do
    tests=storage::
    [[ "$program" == */sward-* ]] || tests=
    emulate timeout --kill-after=10 900 "$program" --test-threads 2 "${skips[@]}" ${tests:+"$tests"} || failed=1
done
exit $failed
