#!/bin/sh
# shellcheck shell=dash
# A flash plan as data: docs/plan-protocol.md has the grammar. Sourced by init; the caller has set work, a folder.
# shellcheck disable=SC2034,SC2154  # What is set here is the caller's; the values' names are built.

is_hex() { case "${1#0x}" in "$1" | '' | *[!0-9a-f]*) return 1 ;; esac; [ ${#1} -le 10 ]; }
is_decimal() { case "$1" in '' | *[!0-9]* | 0?*) return 1 ;; esac; [ ${#1} -le 8 ]; }
is_digits() { case "$1" in *[!0-9a-f]*) return 1 ;; esac; [ ${#1} -eq "$2" ]; }
is_name() { case "$1" in '' | . | .. | *[!A-Za-z0-9._+@-]*) return 1 ;; esac; [ ${#1} -le 64 ]; }
is_one_of() {
    local word=$1 other
    shift
    for other; do [ "$word" != "$other" ] || return 0; done
    return 1
}
is_mac() { [ "$1" = any ] || echo "$1" | grep -qxE '([0-9a-f]{2}:){5}[0-9a-f]{2}'; }

# read_plan FILE: the script's text. Sets p_…, writes the chunks' lines, values only, to $work/chunks; else sets wrong.
read_plan() {
    local name value check
    wrong=''
    sed -n '/^setenv p_plan /,/^setenv p_image_file /p' "$1" >"$work/values"
    exec 3<"$work/values"
    while read -r name check; do
        if ! read -r setenv word value <&3 || [ "$setenv $word" != "setenv p_$name" ]; then
            wrong="it has no $name where that belongs"
            exec 3<&-
            return 1
        fi
        # shellcheck disable=SC2086  # The check's own words.
        if ! $check "$value"; then
            wrong="its $name is not one"
            exec 3<&-
            return 1
        fi
        eval "p_$name=\$value"
    done <<'NAMES'
plan is_plan
job is_job
mode is_mode
target is_mac
needs_keys is_flag
console is_flag
chunk_count is_decimal
total_sectors is_hex
boot_sectors is_hex
rootfs_sectors is_hex
has_pieces is_flag
pieces_file is_name
pieces_size is_hex
image_file is_name
NAMES
    if read -r word <&3; then wrong="it has its values twice"; fi
    exec 3<&-
    [ -z "$wrong" ] || return 1
    grep '^p_number=' "$1" >"$work/lines"
    : >"$work/chunks"
    count=0 sum=0 last=''
    while read -r number partition offset sectors sha256 encoding size file entries lba more; do
        count=$((count + 1))
        if [ -n "$more" ] || ! { [ "$number" = "p_number=$count" ] && field partition "$partition" is_partition &&
            field offset "$offset" is_hex && field sectors "$sectors" is_hex && field sha256 "$sha256" is_sha256 &&
            field encoding "$encoding" is_encoding && field size "$size" is_hex && field file "$file" is_name &&
            field entries "$entries" is_hex && field lba "$lba" is_hex; }; then
            wrong="line $count of its chunks is not one"
            return 1
        fi
        # 16 MiB; no number here can overflow.
        if [ $((f_sectors)) -lt 1 ] || [ $((f_sectors)) -gt $((0x8000)) ] || [ $((f_size)) -lt 1 ] ||
            [ $((f_size)) -gt $((0x1000000)) ]; then
            wrong="chunk $count has another size than a chunk may have"
            return 1
        fi
        sum=$((sum + f_sectors))
        last="$f_partition $((f_offset)) $((f_sectors))"
        echo "$count $f_partition $f_offset $f_sectors $f_sha256 $f_encoding $f_size $f_file" >>"$work/chunks"
    done <"$work/lines"
    if [ "$count" != "$p_chunk_count" ]; then wrong="it has $count chunks instead of $p_chunk_count"
    elif [ $sum -ne $((p_total_sectors)) ]; then wrong="its chunks have $sum sectors instead of $((p_total_sectors))"
    elif [ "$last" != "2 0 1" ]; then wrong="its last chunk is not the first sector of partition 2, alone"
    fi
    [ -z "$wrong" ]
}
is_plan() { [ "$1" = 1 ]; }
is_job() { is_digits "$1" 16; }
is_mode() { is_one_of "$1" normal full verify; }
is_flag() { is_one_of "$1" yes no; }
is_partition() { is_one_of "$1" 2 3; }
is_sha256() { is_digits "$1" 64; }
is_encoding() { is_one_of "$1" raw gzip; }
# field NAME WORD CHECK: WORD is p_NAME=VALUE, and VALUE is what CHECK takes: f_NAME.
field() {
    [ "${2%%=*}" = "p_$1" ] && $3 "${2#*=}" && eval "f_$1=\${2#*=}"
}
