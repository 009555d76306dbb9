# Where the chunk lies. Nothing outside partitions 2 and 3 is ever read or written (law 1).
setenv p_place '
if test ${p_partition} = 2; then
    setenv p_start ${l_p2}
    setenv p_limit ${p_p2size}
else
    setenv p_start ${l_p3}
    setenv p_limit ${l_p3size}
fi
setexpr p_block 0x${p_start} + ${p_offset} &&
setexpr p_end ${p_offset} + ${p_sectors} &&
setexpr p_bytes ${p_sectors} * 0x200 &&
itest ${p_sectors} -le 0x8000 &&
itest 0x${p_end} -le 0x${p_limit}'

# Is it there already? After three chunks in a row that were not, some are not looked at: 1, then 2, 4, 8, 8 and so on;
# the next that is there ends that. A card that holds something else does not pay for being looked at.
setenv p_misses 0
setenv p_skip_next 1
setenv p_skip 0
setenv p_read_once 'mmc read ${p_ram} ${p_block} ${p_sectors}'
setenv p_read_again 'run l_recover && run p_read_once'
setenv p_read_card 'run p_read_once || run p_read_again'
setenv p_differences_likely no
setenv p_is_right 'hash -v sha256 ${p_ram} ${p_bytes} ${p_sha256}'
setenv p_look '
setenv p_is_there no
setenv p_was_read no
if test ${p_mode} = normal && itest 0x${p_skip} -gt 0x0; then
    setexpr p_skip ${p_skip} - 0x1
else
    if test ${p_mode} != full && run p_read_card; then
        setenv p_was_read yes
        # Where pieces of the last chunk differed, some of this one will: its pieces are compared without asking first.
        if test ${p_differences_likely} = no || run p_never_in_pieces; then
            hash sha256 ${p_ram} ${p_bytes} p_card_sha256 &&
                test "${p_card_sha256}" = ${p_sha256} &&
                setenv p_is_there yes
        fi
    fi
fi'
setenv p_hit '
setenv p_misses 0
setenv p_differences_likely no
setenv p_skip_next 1'
setenv p_miss '
setexpr p_misses ${p_misses} + 0x1
if itest 0x${p_misses} -ge 0x3; then
    setenv p_skip ${p_skip_next}
    if itest 0x${p_skip_next} -lt 0x8; then
        setexpr p_skip_next ${p_skip_next} * 0x2
    fi
fi'

# Before the first write, and only then, partition 2 is made unbootable (law 3). Its first sector is the last chunk,
# alone: where it is the only one that differs, it is written and nothing has to be invalidated.
setenv p_invalidated no
setenv p_before_write '
test ${p_invalidated} = yes ||
itest ${p_block} == 0x${l_p2} ||
run p_invalidate'
setenv p_invalidate '
mw.b ${l_zeros} 0x0 0x200 &&
setenv l_from ${l_zeros} &&
setenv l_block ${l_p2} &&
setenv l_blocks 0x1 &&
run l_write &&
setenv p_invalidated yes'

# Load the chunk in full. Its file has an exact size, what comes out has one too, and only its SHA-256 counts.
setenv p_count_file '
setexpr p_file_sectors 0x${filesize} + 0x1ff &&
setexpr p_file_sectors ${p_file_sectors} / 0x200 &&
setexpr rpi_fetched ${rpi_fetched} + ${p_file_sectors}'
setenv p_load '
setenv p_load_to ${p_ram}
test ${p_encoding} = raw || setenv p_load_to ${p_file_ram}
setenv filesize 0
setenv p_code not_loaded
setenv p_cause "${p_file} did not load"
tftpboot ${p_load_to} ${ethaddr}/${p_file} &&
run p_count_file &&
setenv p_code wrong_file &&
setenv p_cause "${p_file} has 0x${filesize} bytes instead of ${p_size}" &&
itest 0x${filesize} == ${p_size} &&
run p_unpack &&
setenv p_cause "${p_file} is not what was planned: another SHA-256" &&
run p_is_right'
setenv p_unpack 'test ${p_encoding} = raw || run p_unzip'
setenv p_unzip '
setenv filesize 0
setenv p_cause "${p_file} does not unpack to 0x${p_bytes} bytes"
unzip ${p_file_ram} ${p_ram} ${p_bytes} &&
itest 0x${filesize} == 0x${p_bytes}'
setenv p_store '
setenv p_code lost_write
setenv p_cause "the card does not hold what was written"
run p_before_write &&
setenv l_from ${p_ram} &&
setenv l_block ${p_block} &&
setenv l_blocks ${p_sectors} &&
run l_write'

