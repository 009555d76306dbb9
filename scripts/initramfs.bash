#!/usr/bin/env bash
# Archives that a kernel unpacks: the modules in them, and the packing. To be sourced behind lib.bash.

# ordered_modules TREE VERSION DIR MODULE...: copy the modules of the kernel in TREE, and all that they need, into DIR,
# unpacked and numbered in the order in which they must be loaded. What the kernel has built in is not asked for.
ordered_modules() {
    local tree=$1 version=$2 dir=$3 module action file name target count
    shift 3
    # Numbers go on behind those of an earlier call; three digits each.
    count=$((100 + $(find "$dir" -name '*.ko' | wc -l)))
    for module; do
        modprobe -d "$tree" -S "$version" --show-depends "$module" >"$dir/.chain" 2>"$dir/.error" ||
            die "module $module: $(cat "$dir/.error")"
        while read -r action file _; do
            [ "$action" = insmod ] || continue
            name=${file##*/}
            if compgen -G "$dir/*-${name%%.ko*}.ko" >/dev/null; then continue; fi
            count=$((count + 1))
            target=$dir/$count-${name%%.ko*}.ko
            case "$name" in
                *.ko) cp "$file" "$target" ;;
                *.ko.xz) xz -dc "$file" >"$target" ;;
                *.ko.zst) zstd -q -dc "$file" >"$target" ;;
                *.ko.gz) gzip -dc "$file" >"$target" ;;
                *) die "module $file is packed in a way that is not known here" ;;
            esac
        done <"$dir/.chain"
    done
    rm -f "$dir/.chain" "$dir/.error"
}

# pack_initramfs TREE: the archive on stdout, always the same for the same files.
pack_initramfs() {
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . | sort | cpio -o -H newc --owner=0:0 --reproducible --quiet) | gzip -n -"${2:-9}"
}
