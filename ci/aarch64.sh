#!/usr/bin/env bash
# The suite on AArch64, under qemu's emulation of a processor. `ci/aarch64.sh PROGRAM...` runs those test programs
# (`lib` is the unit tests); without names, all of them. Debian's cross compiler links them. Tests start themselves
# again, so the kernel has to start them under qemu: it does in a user namespace, which leaves no trace on the
# machine. What qemu cannot do is skipped and listed.
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
} 3>&1
# The start of such a program's file. F: the kernel opens qemu now.
rule=':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
rule+=':\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'":$qemu:F"
emulate true || skip "a user namespace cannot choose how programs are started (Linux 6.7 or newer)"

export CARGO_TARGET_DIR=$PWD/${CARGO_TARGET_DIR:-target/aarch64}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
[ $# -gt 0 ] || set -- lib task sync channel stacks net homes budget checks large_values isolated
targets=()
for name; do
    [ "$name" = lib ] && targets+=(--lib) || targets+=(--test "$name")
done
executables=$(within 1800 cargo test --no-run --target "$target" "${targets[@]}" --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')

# Tests compile libraries with `cc`.
tools=$CARGO_TARGET_DIR/tools
mkdir -p "$tools"
ln -sf "$(command -v aarch64-linux-gnu-gcc)" "$tools/cc"
export PATH=$tools:$PATH QEMU_LD_PREFIX=/usr/aarch64-linux-gnu

declare -A skips
programs=" $* "
programs=${programs/ lib / lib storage }
leave_out() { # program, test, reason
    [[ $programs == *" $1 "* ]] || return 0
    echo "skipped: $1: $2: $3"
    skips[$1]+=" --skip $2"
}
leave_out lib a_new_thread_is_counted "the /proc/self/stat that qemu makes up has no number of threads"
leave_out storage valgrind_is_refused "valgrind has no AArch64 here"
leave_out storage the_lender_blocks_all_signals_but_the_one_of_setuid \
    "/proc shows the mask of qemu, not that of the program"
users="qemu has a thread of its own, which does not change users with the others"
leave_out storage privileges_are_given_up_inside "$users"
stat="/proc/self/stat is a file of qemu's"
leave_out io files_are_opened_as_by_std "$stat"
leave_out io a_file_that_is_on_no_local_disk_does_not_use_the_ring "$stat"
leave_out io all_of_this_with_the_ring_and_without "it runs the one before again"
leave_out homes all_threads_change_users_together "$users"
leave_out homes a_forked_child_runs_on "qemu may copy a lock of its own that is held, so the child starts no thread"
for test in coroutine::out_of_a_connect timeout::a_connect_is_ended waits_io::a_connect; do
    leave_out cancel "$test" "qemu does not know TCP_INFO, by which the test sees that a queue is full"
done
leave_out task a_hundred_thousand_parked_at_once \
    "qemu ignores the advice that makes guards, and mprotect cannot guard so many stacks"
leave_out task a_coroutine_without_a_stack_is_reported "qemu ignores limits of the address space"

# Runs a test program, perhaps some of its tests only. Only a hang reaches the limit.
failed=0 table="| program | passed | failed | left out |"$'\n'"|---|--:|--:|--:|"
run() { # title, program, argument...
    local title=$1 executable left_out log=$CARGO_TARGET_DIR/output counts
    executable=$(grep -m1 "/$2-[0-9a-f]*$" <<<"$executables")
    read -ra left_out <<<"${skips[$title]:-}"
    echo "--- $title"
    # No pipe: a child that hangs would keep it open.
    emulate timeout --kill-after=10 1200 "$executable" --test-threads 2 "${left_out[@]}" "${@:3}" >"$log" || {
        failed=1
        echo "ci: $title failed, or took longer than 1200 s" >&2
    }
    cat "$log"
    # The last line is the program's; those before it are of tests that start themselves again.
    counts=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 | \2/p' "$log" | tail -1)
    table+=$'\n'"| $title | ${counts:-none | ended early} | $((${#left_out[@]} / 2)) |"
}
for name; do
    case $name in
        homes) SWARD_HOMES=auto run homes homes ;;
        lib)
            run lib sward --skip storage::
            SWARD_HOMES=auto run storage sward storage:: ;;
        # Whether stacks have guards; the others have not been tried.
        isolated) run isolated isolated overflow:: ;;
        *) run "$name" "$name" ;;
    esac
done
echo "$table"
exit $failed
