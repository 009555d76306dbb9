#!/bin/sh
# shellcheck shell=dash
# The card: what is there, what is written, what was proven. Sourced by init, whose names it uses.
# shellcheck disable=SC2034,SC2086,SC2154  # Numbers need no quotes.

# read_card SECTOR SECTORS: past the cache.
read_card() { dd if="$disk" iflag=skip_bytes,count_bytes,direct bs=1M skip=$(($1 * 512)) count=$(($2 * 512)) 2>/dev/null; }
digest() { openssl dgst -sha256 -r | cut -d ' ' -f 1; }
# write_card FILE SECTOR SHA256: write FILE, which has that SHA-256, read it back past the cache, hash that; three times.
write_card() {
    local sectors try
    sectors=$(($(stat -c %s "$1") / 512))
    for try in 1 2 3; do
        dd if="$1" of="$disk" oflag=seek_bytes,direct bs=1M seek=$(($2 * 512)) conv=notrunc,fsync 2>/tmp/error &&
            [ "$(read_card "$2" $sectors | digest)" = "$3" ] && return 0
        say "the card does not hold what was written, in the $sectors sectors from $2: $(tail -n 1 /tmp/error)"
        retries=$((retries + 1))
        sleep 1
    done
    return 1
}

# fail CODE TEXT: the first failure counts.
fail() {
    [ "$state" = ok ] || return 0
    state=failed code=$1 reason=$2
    say "${3:-}$2"
}
# refuse CODE TEXT: what the server has is not run at all, and it is not known which job that is.
refuse() {
    p_job=''
    fail "$1" "$2" "refused: "
}

# Everything that can be refused is refused here, with nothing written.
check_card() {
    local size
    size=$(cat "/sys/class/block/${disk##*/}/size")
    p2=$(cat "/sys/class/block/${disk##*/}p2/start" 2>/dev/null) p2size=$(cat "/sys/class/block/${disk##*/}p2/size" 2>/dev/null)
    p3=$(cat "/sys/class/block/${disk##*/}p3/start" 2>/dev/null) p3size=$(cat "/sys/class/block/${disk##*/}p3/size" 2>/dev/null)
    if [ "${p2:-0}" -ne $((card_boot_start)) ] || [ "${p3:-0}" -ne $((card_rootfs_start)) ]; then
        fail other_layout "partitions 2 and 3 of the card start at ${p2:-nowhere} and ${p3:-nowhere}, it was made for $((card_boot_start)) and $((card_rootfs_start))"
    elif [ $((p3 + p3size)) -gt "$size" ] || [ "$(read_card $((p3 + p3size - 1)) 1 | wc -c)" -ne 512 ]; then
        fail short_card "the card ends before sector $((p3 + p3size)), its partition table is larger than it"
    elif [ $((p_boot_sectors)) -gt "$p2size" ] || [ $((p_rootfs_sectors)) -gt "$p3size" ]; then
        fail no_fit "the image does not fit the card: it needs $((p_boot_sectors)) and $((p_rootfs_sectors)) sectors, partitions 2 and 3 have $p2size and $p3size"
    fi
}

# load_chunk: into /tmp/chunk, proven by its SHA-256.
load_chunk() {
    code=not_loaded cause="$file did not load"
    get "$file" /tmp/file || return 1
    fetched=$((fetched + ($(stat -c %s /tmp/file) + 511) / 512))
    code=wrong_file cause="$file has $(stat -c %s /tmp/file) bytes instead of $((size))"
    [ "$(stat -c %s /tmp/file)" -eq $((size)) ] || return 1
    if [ "$encoding" = raw ]; then
        mv /tmp/file /tmp/chunk
    else
        cause="$file does not unpack to $((sectors * 512)) bytes"
        # No more than a chunk and a byte, whatever comes out.
        gunzip -c /tmp/file 2>/dev/null | head -c $((sectors * 512 + 1)) >/tmp/chunk
    fi
    [ "$(stat -c %s /tmp/chunk)" -eq $((sectors * 512)) ] || return 1
    cause="$file is not what was planned: another SHA-256"
    [ "$(digest </tmp/chunk)" = "$sha256" ]
}
store_chunk() {
    code=lost_write cause="the card does not hold what was written"
    if [ $invalidated = no ] && [ "$at" -ne "$p2" ]; then
        dd if=/dev/zero of=/tmp/zeros bs=512 count=1 2>/dev/null
        write_card /tmp/zeros "$p2" "$(digest </tmp/zeros)" || return 1
        invalidated=yes
    fi
    write_card /tmp/chunk "$at" "$sha256"
}
bad_chunk() {
    bad_count=$((bad_count + 1))
    [ -n "$bad_chunk" ] || bad_chunk=$number bad_lba=$at
}
do_chunk() {
    local start limit have try is_done code cause
    if [ "$partition" = 2 ]; then start=$p2 limit=$p2size; else start=$p3 limit=$p3size; fi
    if [ $((offset + sectors)) -gt "$limit" ]; then
        fail outside "chunk $number lies outside of partition $partition"
        return
    fi
    at=$((start + offset)) have=''
    # A card that holds something else does not pay for being looked at: as U-Boot's plan does it.
    if [ "$p_mode" = normal ] && [ $skip -gt 0 ]; then
        skip=$((skip - 1))
    elif [ "$p_mode" != full ]; then
        have=$(read_card $at $((sectors)) | digest)
        if [ "$have" = "$sha256" ]; then
            misses=0 skip_next=1
            same=$((same + sectors)) chunks=$((chunks + 1))
            say "chunk $number of $p_chunk_count: there already"
            return
        fi
        misses=$((misses + 1))
        if [ $misses -ge 3 ]; then
            skip=$skip_next
            [ $skip_next -ge 8 ] || skip_next=$((skip_next * 2))
        fi
    fi
    if [ "$p_mode" = verify ]; then
        say "chunk $number of $p_chunk_count: differs, sector $at on"
        bad_chunk
        return
    fi
    is_done=no
    for try in 1 2 3; do
        if load_chunk && store_chunk; then
            is_done=yes
            break
        fi
        say "chunk $number of $p_chunk_count: $cause"
        retries=$((retries + 1))
        # The card has been tried three times already.
        [ "$code" != lost_write ] || break
    done
    rm -f /tmp/file /tmp/chunk
    if [ $is_done = yes ]; then
        written=$((written + sectors)) chunks=$((chunks + 1))
        say "$(printf 'chunk %d of %d: wrote 0x%x of 0x%x sectors' "$number" "$p_chunk_count" $((sectors)) $((sectors)))"
    else
        bad_chunk
        reason_only=$cause
        fail "$code" "chunk $number of $p_chunk_count, sector $at: $cause"
        reason=$reason_only
    fi
}

# send_report: what was done, then OK or FAILED, 8 bytes little endian.
send_report() {
    local count shift name
    [ "$state" = ok ] || [ -n "$reason" ] || reason=unknown
    {
        printf 'rpi_report=1\nrpi_job=%s\nrpi_state=%s\n' "${p_job:-0000000000000000}" "$state"
        [ "$state" = ok ] || printf 'rpi_code=%s\nrpi_reason=%s\n' "$code" "$(printf %s "$reason" | tr -cd ' -~' | head -c 500)"
        printf 'rpi_chunks=%x\nrpi_written=%x\nrpi_same=%x\nrpi_fetched=%x\nrpi_retries=%x\nrpi_bad_count=%x\n' \
            $chunks $written $same $fetched $retries $bad_count
        [ -z "$bad_chunk" ] || printf 'rpi_bad_chunk=%d\nrpi_bad_lba=%x\n' "$bad_chunk" "$bad_lba"
        printf 'rpi_card=%s-01\nrpi_agent=%x\nrpi_board=%s\nrpi_keys=%s\nver=Linux %s\n' \
            "$(dd if="$disk" bs=512 count=1 2>/dev/null | tail -c +441 | head -c 4 | hexdump -e '1/4 "%08x"')" \
            $agent "$card_board" "$card_keys" "$(uname -r | tr -cd 'A-Za-z0-9.+~_-')"
        # A Pi's serial number, which its firmware puts there.
        # shellcheck disable=SC2002  # Where there is no such file, the shell itself would say so.
        name=$(cat /proc/device-tree/serial-number 2>/dev/null | tr -cd '0-9a-f' | head -c 16)
        [ -z "$name" ] || printf 'serial#=%s\n' "$name"
    } >/tmp/REPORT
    put /tmp/REPORT REPORT
    count=$(((written + same) * 512))
    for shift in 0 8 16 24 32 40 48 56; do
        # shellcheck disable=SC2059  # The byte, in octal.
        printf "\\$(printf %03o $((count >> shift & 255)))"
    done >/tmp/outcome
    if [ "$state" = ok ]; then name=OK; else name=FAILED; fi
    say "$name, $((written + same)) sectors proven, $retries retries, $(now) s"
    put /tmp/outcome $name
}

flash() {
    state=ok code='' reason='' chunks=0 written=0 same=0 fetched=0 retries=0 bad_count=0 bad_chunk='' bad_lba=0
    misses=0 skip=0 skip_next=1 invalidated=no p_job=''
    if ! plan_text /tmp/flash.scr /tmp/plan; then
        if [ -n "$card_keys" ]; then
            refuse not_signed "the plan is not signed by a key of this card ($card_keys)"
        else
            refuse no_plan "what the server has is not a flash plan"
        fi
    elif ! read_plan /tmp/plan; then
        refuse no_plan "the plan is not one that this card's agent can carry out: $wrong"
    else
        [ "$p_console" = no ] || send_console "$serverip"
        say "flash plan $p_job, $p_mode: $p_chunk_count chunks, $p_total_sectors sectors"
        if [ "$p_target" != any ] && [ "$p_target" != "$mac" ]; then
            fail other_target "the plan is for target $p_target, and this is $mac"
        elif [ "$p_needs_keys" = yes ] && [ -z "$card_keys" ]; then
            fail unsigned_card "the inventory requires a card with a key (require_signed), and this card has none"
        elif ! permitted; then
            fail not_permitted "the server did not permit this plan now: it is an old one, or its server is gone"
        else
            check_card
        fi
    fi
    if [ $state = ok ]; then
        # shellcheck disable=SC2034  # do_chunk's.
        while [ $state = ok ] && read -r number partition offset sectors sha256 encoding size file <&4; do
            do_chunk
        done 4<"$work/chunks"
        [ $bad_count -eq 0 ] ||
            fail differs "$bad_count chunks differ, the first is $bad_chunk at sector $bad_lba"
        [ $((written + same)) -eq $((p_total_sectors)) ] ||
            fail miscounted "$((written + same)) sectors were proven instead of $((p_total_sectors))"
    fi
    send_report
}
