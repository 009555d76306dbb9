#!/usr/bin/env bash
# What demo-image and debian-image share: the steps of making an OS image that is laid out as a published one, a FAT
# boot partition and an ext4 rootfs right behind it. gpio-bench unpacks packages with it. To be sourced in place of
# scripts/lib.bash.
# shellcheck disable=SC2154  # disk_id, boot_size, rootfs_size and out are the caller's options.
# shellcheck source=scripts/lib.bash
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.bash"
# shellcheck source=scripts/initramfs.bash
. "$repository/scripts/initramfs.bash"

# stamp FILE...: what stands for these files; - is stdin.
stamp() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

# begin_image STAMP: where $out was made from what STAMP stands for, this is the end. Sets image, the file that is to
# become $out, and what all steps go by: same parts, same bytes; any time that FAT can hold would do.
begin_image() {
    mkdir -p "$(dirname "$out")"
    out=$(readlink -m "$out")
    lock "$out.lock"
    if is_made "$out" "$1"; then exit 0; fi
    rm -f "$out.stamp"
    umask 022
    work_folder "$out.work"
    image=$work/image image_stamp=$1
    export SOURCE_DATE_EPOCH=1577836800 TZ=UTC LC_ALL=C MTOOLS_SKIP_CHECK=1
}
# end_image: $image is whole.
end_image() {
    e2fsck -fn "$image?offset=$((rootfs_start * 512))" >"$work/e2fsck" 2>&1 || die "the rootfs is not clean: $(cat "$work/e2fsck")"
    mv "$image" "$out"
    made "$out" "$image_stamp"
}

# geometry LAYOUT: where such an image's partitions lie: boot_start is the boot partition's LBA, align_mib what both
# sizes are a multiple of, fat_bits the kind of FAT. The starts are the published ones; so are the alignments. Sizes are
# not: these images are made smaller, to be flashed in seconds.
geometry() {
    fat_bits=32
    case "$1" in
        # pi-gen, export-image/prerun.sh since 2025-03-12 ("Align partition start boundaries to 8M"): ALIGN is 8 MiB,
        # for starts and sizes, BOOT_SIZE 512 MiB. Images of May 2025 on, Bookworm and Trixie. rpi-image-gen has the
        # same start: image/mbr/simple_dual/genimage.cfg.in.ext4, align = 8M.
        pios | pios-trixie) boot_start=16384 align_mib=8 ;;
        # The same file before: ALIGN 4 MiB, boot 512 MiB. Images up to November 2024.
        pios-2024) boot_start=8192 align_mib=4 ;;
        # Debian's image-specs, raspi_master.yaml: the firmware partition from 4MiB to 512MiB, the root behind it.
        debian | debian-armhf) boot_start=8192 align_mib=4 ;;
        # pi-gadget, branches classic and classic-22.04, gadget.yaml.in: system-boot, type 0C, 512M (256M before October
        # 2022), without an offset, which is 1 MiB then (snapd, gadget: NonMBRStartOffset).
        ubuntu | ubuntu-ab) boot_start=2048 align_mib=1 ;;
        # Buildroot, board/raspberrypi/genimage.cfg.in: boot.vfat of 32M, then rootfs.ext4, in an hdimage whose align is
        # not given: 512 bytes (genimage, README). mkdosfs makes FAT16 of 32 MiB.
        buildroot) boot_start=1 align_mib=4 fat_bits=16 ;;
        *) return 1 ;;
    esac
}

# sizes BOOT_MINIMUM ROOTFS_MINIMUM: from the options --boot-size and --rootfs-size to boot_mib, rootfs_mib and
# rootfs_start;
# --disk-id is checked too. After geometry.
sizes() {
    [[ $disk_id =~ ^[0-9a-f]{8}$ ]] || bad_usage "disk id '$disk_id' is not 8 lower-case hexadecimal digits"
    mebibytes boot "$boot_size" "$1"
    mebibytes rootfs "$rootfs_size" "$2"
    rootfs_start=$((boot_start + boot_mib * 2048))
}
mebibytes() {
    [[ $2 =~ ^([1-9][0-9]{0,5})(MiB|GiB)$ ]] || bad_usage "$1 size '$2' is not a number with MiB or GiB"
    local size=${BASH_REMATCH[1]}
    if [ "${BASH_REMATCH[2]}" = GiB ]; then size=$((size * 1024)); fi
    [ "$size" -ge "$3" ] || bad_usage "$1 size is $size MiB; must be at least $3 MiB"
    [ $((size % align_mib)) -eq 0 ] || bad_usage "$1 size is $size MiB; must be a multiple of $align_mib MiB"
    printf -v "$1_mib" %s "$size"
}

# unpack_kernel DEB DIR PATTERN...: unpack kernel, modules and the files of the patterns. The modules are in
# DIR/lib/modules whether the package has them in lib (Debian 12) or in usr/lib (13).
unpack_kernel() {
    local deb=$1 dir=$2
    shift 2
    mkdir -p "$dir/usr/lib"
    [ -e "$dir/lib" ] || ln -s usr/lib "$dir/lib"
    dpkg-deb --fsys-tarfile "$deb" |
        tar -C "$dir" --keep-directory-symlink --wildcards -x './boot/vmlinuz-*' '*/lib/modules/*' "$@"
}

# unpack_busybox DEB FILE: the program, which packages have in bin (Debian 12) or in usr/bin (13).
unpack_busybox() {
    dpkg-deb --fsys-tarfile "$1" | tar -x -O --wildcards './*bin/busybox' >"$2"
    [ -s "$2" ] || die "package ${1##*/} has no bin/busybox"
    chmod 755 "$2"
}

# initramfs_tree DIR INIT APPLET...: what is in an initramfs of ours, but for its modules: busybox, from $work/busybox.
initramfs_tree() {
    local dir=$1 applet
    mkdir -p "$dir"/{bin,dev,proc,sys,modules}
    cp "$work/busybox" "$dir/bin/"
    install -m 755 "$2" "$dir/init"
    for applet in "${@:3}"; do ln -s busybox "$dir/bin/$applet"; done
}

# boot_files TREE DIR KERNEL_NAME DTB_FOLDER DTB_PREFIX...: the kernel in TREE and its device trees as they lie in the
# boot partition, where a Pi 3's device trees begin with each DTB_PREFIX. The kernel is plain as vmlinuz-VERSION, else
# gzip'd.
boot_files() {
    local dtb base prefix
    case "$3" in
        vmlinuz-*) cp "$1"/boot/vmlinuz-* "$2/$3" ;;
        *) gzip -n -6 <"$(compgen -G "$1/boot/vmlinuz-*")" >"$2/$3" ;;
    esac
    for dtb in "$1"/usr/lib/linux-image-*/"$4"/bcm283[67]-*.dtb "$1"/usr/lib/linux-image-*/"$4"/bcm2711-*.dtb; do
        base=${dtb##*/}
        for prefix in "${@:5}"; do cp "$dtb" "$2/${base/#bcm2837/$prefix}"; done
    done
}

# partition_image [LABEL]: make the file, its table and the empty FAT.
partition_image() {
    local boot_sectors=$((boot_mib * 2048)) rootfs_sectors=$((rootfs_mib * 2048)) sectors_per_cluster=1
    truncate -s $(((rootfs_start + rootfs_sectors) * 512)) "$image"
    printf '%s\n' "label: dos" "label-id: 0x$disk_id" "unit: sectors" "start=$boot_start, size=$boot_sectors, type=c" \
        "start=$rootfs_start, size=$rootfs_sectors, type=83" | sfdisk -q --no-reread --no-tell-kernel "$image"
    # -s 1: with larger clusters a small partition has too few of them for FAT32.
    if [ "$boot_mib" -ge 260 ]; then sectors_per_cluster=8; fi
    # FAT16 has less than 65525 clusters.
    if [ "$fat_bits" = 16 ]; then sectors_per_cluster=4; fi
    mkfs.vfat --invariant -F "$fat_bits" -s $sectors_per_cluster -h "$boot_start" --offset "$boot_start" -i "$disk_id" \
        -n "${1:-bootfs}" "$image" $((boot_sectors / 2)) >"$work/mkfs" 2>&1 || die "mkfs.vfat failed: $(cat "$work/mkfs")"
}

# fill_boot DIR: the files of DIR, and of the folders in it, into the boot partition.
fill_boot() {
    local fat=$image@@$((boot_start * 512)) folder paths
    find "$1" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    # In an order that the names give: mcopy -s takes a folder's files as they come.
    mapfile -t paths < <(find "$1" -maxdepth 1 -type f | sort)
    mcopy -m -i "$fat" "${paths[@]}" ::
    while read -r folder; do
        mmd -i "$fat" "::$folder"
        mcopy -m -i "$fat" "$1/$folder"/* "::$folder/"
    done < <(find "$1" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
}

# make_rootfs [ARGUMENT...]: make the ext4, by mkfs.ext4 with these arguments more.
make_rootfs() {
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mkfs.ext4 -q -L rootfs -U "$disk_id-0000-4000-8000-000000000002" \
        -E "offset=$((rootfs_start * 512)),root_owner=0:0,hash_seed=$disk_id-0000-4000-8000-000000000003" \
        "$@" "$image" "${rootfs_mib}M" 2>"$work/mkfs" || die "mkfs.ext4 failed: $(cat "$work/mkfs")"
}
