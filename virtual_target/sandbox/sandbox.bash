#!/usr/bin/env bash
# The machine "sandbox" of virtual-target, which sources this: U-Boot as a process of this machine.
# shellcheck disable=SC2154  # dir and here are of virtual-target.

# The target's end of its cable; the bridge's has the name of a tap.
cable_name() { local hex=${VT_MAC//:/}; echo "vs${hex: -6}"; }

# connect_sandbox: a cable in place of QEMU's tap. Its end has no address: only U-Boot's packet socket listens there.
connect_sandbox() {
    ip link add "$(tap_name)" type veth peer name "$(cable_name)" || return
    # A packet socket is to get packets as they are on a wire, not up to 64 KiB of them in one.
    ip link set dev "$(tap_name)" gso_max_segs 1 gso_max_size 1514 || return
    ip link set dev "$(cable_name)" arp off up
    ip link set dev "$(tap_name)" up
}

# start_sandbox: U-Boot in a session of its own, with none of our files.
start_sandbox() {
    local preload
    preload=$(built sandbox/preload.so)
    [ -f "$preload" ] || die "$preload not found; build it with make sandbox"
    need_package dtc device-tree-compiler
    [[ $VT_CARD != *[\"\\\&\|]* ]] || die "card $VT_CARD: machine sandbox takes no path with a quote, a backslash, & or |"
    sed -e "s|@MAC@|$VT_MAC|; s|@MAC_BYTES@|${VT_MAC//:/ }|; s|@CARD@|$VT_CARD|; s|@INTERFACE@|$(cable_name)|" \
        "$here/sandbox/target.dts" | dtc -q -I dts -O dtb -o "$dir/sandbox.dtb" - || die "dtc could not make $dir/sandbox.dtb"
    # A card with keys has them beside U-Boot, as this machine's device tree is not on it.
    if from_card rpiflash-keys.dtb "$dir/keys.dtb"; then
        mv "$dir/sandbox.dtb" "$dir/machine.dtb"
        merge_trees "$dir/sandbox.dtb" "$dir/machine.dtb" "$dir/keys.dtb"
    fi
    [ -p "$dir/console.in" ] || mkfifo "$dir/console.in"
    rm -f "$dir/counters"
    # Both ways open, so that it never ends.
    LD_PRELOAD=$preload SANDBOX_CARD=$VT_CARD SANDBOX_COUNTERS=$dir/counters SANDBOX_FAULTS=$VT_FAULTS \
        setsid "$VT_UBOOT" -d "$dir/sandbox.dtb" 9>&- <>"$dir/console.in" >>"$dir/console.log" 2>&1 &
    echo $! >"$dir/sandbox.pid"
}

# sandbox_console: what comes, and what is typed.
sandbox_console() {
    local from
    from=$(stat -c %s "$dir/console.log")
    tail -c "+$((from + 1))" -f "$dir/console.log" &
    at_exit end_process $!
    if [ ! -t 0 ]; then cat >"$dir/console.in"; return; fi
    local terminal
    terminal=$(stty -g)
    at_exit stty "$terminal"
    stty raw -echo
    # Ctrl-] ends it.
    while IFS= read -r -N 1 -d '' && [ "$REPLY" != $'\x1d' ]; do printf %s "$REPLY"; done >"$dir/console.in"
}
