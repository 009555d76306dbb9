#!/usr/bin/env bash
# What scenarios and benchmarks share: a card, flashes of the virtual target, its console, other TFTP servers. To be
# sourced in place of scripts/lib.bash; the caller is then in the source tree.
# shellcheck source=scripts/lib.bash
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.bash"
cd "$repository" || exit
export RPIFLASH_BUILD=$build MTOOLS_SKIP_CHECK=1
vt=$repository/virtual_target/virtual-target
card=virtual_target/card.yaml
# What is made and logged is in $dir, which a caller may change.
place() { dir=$1 target=$1/target; }
place "$build/$program"

# start_over: an empty $dir.
start_over() {
    rm -rf "$dir"
    mkdir -p "$dir/tftp"
}

# card_layout KEY VALUE [KEY VALUE]...: the virtual target's layout with these values, into $dir/card.yaml, which counts
# then.
card_layout() {
    local changes=()
    while [ $# -gt 0 ]; do
        changes+=(-e "s/^$1:.*/$1: $2/")
        shift 2
    done
    sed "${changes[@]}" virtual_target/card.yaml >"$dir/card.yaml"
    card=$dir/card.yaml
}

# recovery_card OUT OPTION...: a recovery image with the layout $card; of its options the last ones count.
recovery_card() {
    local out=$1
    shift
    "$bin/rpiflash-gen" recovery-image --board qemu_arm64 --card "$card" --server-ip 192.168.77.1 --no-xz --output "$out" "$@"
}

# run_inside TARGET...: this script once more, with what it was given, in these targets' network: there inside is yes.
run_inside() { exec "$vt" exec "$@" -- "$self" inside "${given[@]}"; }

# flash IMAGE TARGET OPTION...: rpiflash flash, with what it keeps in $dir. With run=exec this shell becomes it, so that
# what is put in the background is rpiflash.
flash() {
    ${run:-} "$bin/rpiflash" flash "$@" --inventory "${inventory:-$target/targets.csv}" --card "$card" --tftp-root "$dir/tftp" \
        --store "${store:-$dir/store}" --runs "$dir/runs" --keys "${keys:-$dir/no-keys}" --templates "${templates:-templates}" </dev/null
}

# mark: from here on since prints what the target's console has said.
mark() { from=$(stat -c %s "$target/console.log" 2>/dev/null || echo 0); }
since() { tail -c "+$((from + 1))" "$target/console.log" | tr -d '\r\0'; }

# copy_sectors IMAGE START SECTORS OUT: these sectors as a file of their own, for fsck.vfat.
copy_sectors() {
    dd if="$1" of="$4" bs=1M iflag=skip_bytes,count_bytes skip=$(($2 * 512)) count=$(($3 * 512)) conv=sparse status=none
}

# check_fat FILE
check_fat() { fsck.vfat -n "$1" >"$dir/fsck.log" 2>&1 || die "fsck.vfat: $(cat "$dir/fsck.log")"; }

# start_peer SERVER ROOT ADDRESS: another TFTP server than ours, its process into pid; back when port 69 is open.
start_peer() {
    case "$1" in
        atftpd) "$build/peers/atftpd/usr/sbin/atftpd" --daemon --no-fork --user root.root --maxthread 200 \
            --bind-address "$3" "$2" & ;;
        tftpd-hpa) "$build/peers/tftpd-hpa/usr/sbin/in.tftpd" --foreground --secure --create --user root \
            --address "$3:69" "$2" & ;;
        dnsmasq) dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --enable-tftp \
            --tftp-root="$2" --tftp-max=200 --listen-address="$3" --bind-interfaces --pid-file= & ;;
        *) die "unknown server '$1'" ;;
    esac >"$dir/$1.log" 2>&1
    pid=$!
    await_server "$1"
}
# await_server SERVER: until port 69 is open, by process $pid. It is 0045 in /proc's hexadecimal.
await_server() {
    # shellcheck disable=SC2317
    is_open() { ended "$pid" || grep -q ':0045 ' /proc/net/udp; }
    within 10 is_open || die "$1 did not open port 69 in 10 s"
    ! ended "$pid" || fail_with "$dir/$1.log" "$1 did not start"
}

# calculate FORMAT EXPRESSION: by awk, which has fractions.
calculate() { awk "BEGIN { printf(\"$1\", $2) }"; }

# median: of the numbers on stdin, a line each; nothing where there are none.
median() { sort -n | awk '{ value[NR] = $1 } END { if (NR) print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }

# small_image NAME: MBR, FAT with a kernel of zeros, ext4, into $dir/NAME.img: each with names and contents of its own.
small_image() {
    local boot=$dir/$1.boot root=$dir/$1.root
    mkdir -p "$dir/$1.tree"
    truncate -s 4M "$boot"
    mkfs.vfat -F 16 -s 1 -h 8192 -n "${1^^}" "$boot" >/dev/null
    echo "console=serial0,115200 root=/dev/mmcblk0p3 rootfstype=ext4 rootwait $1" >"$dir/$1.tree/cmdline.txt"
    head -c 4096 /dev/zero >"$dir/kernel8.img"
    seq -f "$1 %g" 2000 >"$dir/$1.txt"
    mcopy -i "$boot" "$dir/$1.tree/cmdline.txt" "$dir/kernel8.img" "$dir/$1.txt" ::
    mkfs.ext4 -q -b 1024 -N 16 -O ^has_journal,^resize_inode -d "$dir/$1.tree" "$root" 1024 >/dev/null
    truncate -s $((18432 * 512)) "$dir/$1.img"
    printf 'label: dos\nlabel-id: 0x0badcafe\nstart=8192,size=8192,type=c\nstart=16384,size=2048,type=83\n' |
        sfdisk -q "$dir/$1.img"
    dd if="$boot" of="$dir/$1.img" bs=1M seek=4 conv=notrunc,sparse status=none
    dd if="$root" of="$dir/$1.img" bs=1M seek=8 conv=notrunc,sparse status=none
}
