# rpiflash flash plan of job {{job}}: makes the card match an image, chunk by chunk. Rendered for this job from
# templates/plan.cmd and run by the card's boot script; docs/plan-protocol.md explains both and templates/README.md the
# values in double braces.
#
# From the boot script: l_mmc, l_image, l_back, l_zeros, l_text, l_p2, l_p3, l_p3size (by l_check_card), l_write,
# l_outcome, l_written, l_report; l_api, l_script and l_board if it has them. From U-Boot: ethaddr, filesize, ver, serial#.
# Names that start with p_ are this plan's own. A chunk's own values (set on its line below) are variables of the shell,
# all others of the environment: no name is ever both. Names that start with rpi_ are the report's.
# All numbers are hexadecimal but for p_n, all card positions sectors of 512 bytes.

# The console goes to the server too, from here on. A card whose rpiflash.env says where to does so already.
if test {{netconsole}} = yes && test -z "${netconsole}"; then
    test -n "${stdout}" || setenv stdout serial
    test -n "${stderr}" || setenv stderr serial
    setenv ncip ${serverip}
    setenv stdout ${stdout},nc
    setenv stderr ${stderr},nc
fi
# Older boot scripts do not say it, and older U-Boots ignore it.
setenv netkeep yes
echo "rpiflash: flash plan {{job}}, {{mode}}: {{chunk_count}} chunks, {{total_sectors}} sectors"
setenv p_state ok
setenv p_code
setenv rpi_report 1
setenv rpi_job {{job}}
setenv rpi_state failed
setenv rpi_code
setenv rpi_reason
setenv rpi_chunks 0
setenv rpi_written 0
setenv rpi_same 0
setenv rpi_fetched 0
setenv rpi_retries 0
setenv rpi_bad_count 0
setenv rpi_bad_chunk
setenv rpi_bad_lba
setenv rpi_card
setenv rpi_script ${l_script}
setenv rpi_board ${l_board}
# Boot scripts from 4 on try what the card did not do again themselves (l_write), and count that. For older ones a chunk is.
setenv p_tries_lost 0x3
if test -z "${l_recover}"; then
    setenv p_tries_lost 0x1
    setenv l_retries 0
    setenv l_recover 'setexpr l_retries ${l_retries} + 0x1; mmc dev ${l_mmc}'
fi
part uuid mmc ${l_mmc}:1 rpi_card
# For the console: maker, product and size of the card.
mmc info

# RAM from l_image on, each from a multiple of 16 MiB: a chunk; a file as it was loaded; the table of all pieces. Behind
# that file's place the chunk's own part of the table, at a multiple of 4 KiB. So digits put together make addresses:
# <p_ah><MiB><piece, 8 each>000 is a piece's, <p_th><MiB><the same> that of its entry.
setexpr p_ah ${l_image} + 0xffffff
setexpr p_ah ${p_ah} / 0x1000000
setexpr p_a ${p_ah} * 0x1000000
setexpr p_b ${p_a} + 0x1000000
setexpr p_t ${p_a} + 0x2000000
setexpr p_th ${p_t} / 0x1000
setexpr p_all ${p_t} + 0x100000

# Everything that can be refused is refused here, with nothing written.
setenv p_check_api 'test -z "${l_api}" || test "${l_api}" = 1'
setenv p_check_names 'test -n "${l_write}" && test -n "${l_check_card}" && test -n "${l_report}" && test -n "${ethaddr}"'
setenv p_check_size 'setexpr p_end 0x${l_p3} + 0x${l_p3size} && setexpr p_end ${p_end} - 0x1 && mmc dev ${l_mmc} && mmc read ${p_a} ${p_end} 0x1'
if run p_check_api && run p_check_names; then
    if run l_check_card && part size mmc ${l_mmc} 2 p_p2size; then
        if itest {{boot_sectors}} -le 0x${p_p2size} && itest {{rootfs_sectors}} -le 0x${l_p3size}; then
            if run p_check_size || run p_check_size; then
                setenv p_code
            else
                setenv p_code short_card
                setenv p_state "the card ends before sector 0x${p_end}, its partition table is larger than it"
            fi
        else
            setenv p_code no_fit
            setenv p_state "the image does not fit the card: it needs {{boot_sectors}} and {{rootfs_sectors}} sectors, partitions 2 and 3 have 0x${p_p2size} and 0x${l_p3size}"
        fi
    else
        setenv p_code other_layout
        setenv p_state "partitions 2 and 3 of the card start at 0x${l_p2} and 0x${l_p3}, its boot script was made for ${l_boot_start} and ${l_rootfs_start}"
    fi
else
    setenv p_code old_boot_script
    setenv p_state "this plan is for boot scripts with l_api 1, the card has ${l_api}: bring it up to date with rpiflash upgrade"
fi

# Where the chunk lies. Nothing outside partitions 2 and 3 is ever read or written (law 1).
setenv p_place '
if test ${p_p} = 2; then
    setenv p_start ${l_p2}
    setenv p_limit ${p_p2size}
else
    setenv p_start ${l_p3}
    setenv p_limit ${l_p3size}
fi
setexpr p_block 0x${p_start} + ${p_o} && setexpr p_end ${p_o} + ${p_s} && setexpr p_bytes ${p_s} * 0x200 && itest ${p_s} -le 0x8000 && itest 0x${p_end} -le 0x${p_limit}'

# Is it there already? After three chunks in a row that were not, some are not looked at: 1, then 2, 4, 8, 8 and so on; the next
# that is there ends that. A card that holds something else does not pay for being looked at.
setenv p_mode {{mode}}
setenv p_misses 0
setenv p_span 1
setenv p_skip 0
setenv p_get_card 'mmc read ${p_a} ${p_block} ${p_s}'
setenv p_get_again 'run l_recover && run p_get_card'
setenv p_read_card 'run p_get_card || run p_get_again'
setenv p_expect no
setenv p_look '
setenv p_have no
setenv p_read no
if test ${p_mode} = normal && itest 0x${p_skip} -gt 0x0; then
    setexpr p_skip ${p_skip} - 0x1
else
    if test ${p_mode} != full && run p_read_card; then
        setenv p_read yes
        # Where pieces of the last chunk differed, some of this one will: its pieces are compared without asking first.
        if test ${p_expect} = no || run p_whole; then
            hash sha256 ${p_a} ${p_bytes} p_sum
            test "${p_sum}" = ${p_h} && setenv p_have yes
        fi
    fi
fi'
setenv p_hit '
setenv p_misses 0
setenv p_expect no
setenv p_span 1'
setenv p_miss '
setexpr p_misses ${p_misses} + 0x1
if itest 0x${p_misses} -ge 0x3; then
    setenv p_skip ${p_span}
    if itest 0x${p_span} -lt 0x8; then
        setexpr p_span ${p_span} * 0x2
    fi
fi'

# Before the first write, and only then, partition 2 is made unbootable (law 3). Its first sector is the last chunk,
# alone: where it is the only one that differs, it is written and nothing has to be invalidated.
setenv p_touched no
setenv p_touch 'test ${p_touched} = yes || itest ${p_block} == 0x${l_p2} || run p_invalidate'
setenv p_invalidate 'mw.b ${l_zeros} 0x0 0x200 && setenv l_from ${l_zeros} && setenv l_block ${l_p2} && setenv l_blocks 0x1 && run l_write && setenv p_touched yes'

# Load the chunk in full. Its file has an exact size, what comes out has one too, and only its SHA-256 counts.
setenv p_count 'setexpr p_some 0x${filesize} + 0x1ff && setexpr p_some ${p_some} / 0x200 && setexpr rpi_fetched ${rpi_fetched} + ${p_some}'
setenv p_load '
setenv p_to ${p_a}
test ${p_e} = raw || setenv p_to ${p_b}
setenv filesize 0
setenv p_code not_loaded
setenv p_cause "${p_f} did not load"
tftpboot ${p_to} ${ethaddr}/${p_f} && run p_count && setenv p_code wrong_file && setenv p_cause "${p_f} has 0x${filesize} bytes instead of ${p_z}" && itest 0x${filesize} == ${p_z} && run p_unpack && setenv p_cause "${p_f} is not what was planned: another SHA-256" && hash -v sha256 ${p_a} ${p_bytes} ${p_h}'
setenv p_unpack 'test ${p_e} = raw || run p_unzip'
setenv p_unzip 'setenv filesize 0; setenv p_cause "${p_f} does not unpack to 0x${p_bytes} bytes"; unzip ${p_b} ${p_a} ${p_bytes} && itest 0x${filesize} == 0x${p_bytes}'
setenv p_store 'setenv p_code lost_write; setenv p_cause "the card does not hold what was written"; run p_touch && setenv l_from ${p_a} && setenv l_block ${p_block} && setenv l_blocks ${p_s} && run l_write'

# Or load only what differs. The table of pieces has 8 bytes for each 32 KiB: its CRC-32, then (in the first of 32) that
# of the whole MiB. MiBs that differ are looked at closer; the pieces found are loaded and written where that is cheaper than
# the chunk as a whole: a run of pieces counts as 128 KiB more than it has. They come from the image itself, all with one
# file, or from the chunk's file where that is shorter, or the image has something else there than the card shall get. The
# chunk then must have its SHA-256 as a whole, with what was read from the card, before a byte is written.
# U-Boot 2023.01 loses about 320 bytes of memory at each crc32 and hash: their number is limited (l_hashes), and two for
# each chunk are kept back; one whose pieces are compared may take two more.
setenv p_pieces {{pieces}}
setenv p_hashes 1000
test -z "${l_hashes}" || setexpr p_hashes ${l_hashes} + 0x0
if itest 0x${p_hashes} -gt {{hashes_kept}}; then
    setexpr p_hashes ${p_hashes} - {{hashes_kept}}
else
    setenv p_hashes 0
fi
setenv p_table 'test ${p_pieces} = loaded || run p_load_table'
setenv p_load_table '
setenv filesize 0
setenv p_pieces no
tftpboot ${p_all} ${ethaddr}/{{pieces_file}} && run p_count && itest 0x${filesize} == {{pieces_size}} && setenv p_pieces loaded
test ${p_pieces} = loaded || echo "rpiflash: {{pieces_file}} did not load in full: chunks are loaded whole"
test ${p_pieces} = loaded'
setenv p_prepare 'setexpr p_mib ${p_s} + 0x7ff && setexpr p_mib ${p_mib} / 0x800 && setexpr p_some ${p_mib} * 0x100 && setexpr p_at ${p_all} + ${p_i} && cp.b ${p_at} ${p_t} ${p_some} && setexpr p_at ${p_a} + ${p_bytes} && setexpr p_some ${p_mib} * 0x100000 && setexpr p_some ${p_some} - ${p_bytes} && run p_pad'
setenv p_pad 'itest 0x${p_some} == 0x0 || mw.b ${p_at} 0x0 ${p_some}'
# p_map says of each MiB whether it differs; p_mask has a bit for each piece of the chunk, the highest first.
setenv p_find '
setenv p_map
setenv p_odds 0
for p_j in 0 1 2 3 4 5 6 7 8 9 a b; do
    if itest 0x${p_j} -lt 0x${p_mib}; then
        if crc32 -v ${p_ah}${p_j}00000 0x100000 *${p_th}${p_j}04; then
            setenv p_map "${p_map} same"
        else
            setenv p_map "${p_map} ${p_j}"
            setexpr p_odds ${p_odds} + 0x1
        fi
    fi
done
setexpr p_hashes ${p_hashes} - ${p_mib}
setexpr p_hashes ${p_hashes} - 0x2
setenv p_go yes
setenv p_seen 0
setenv p_cost 0
setenv p_next ffff
setenv p_length 0
setenv p_runs
setenv p_sum 0
setenv p_mask
for p_j in ${p_map}; do
    setenv p_bits 00000000
    if test ${p_go} = yes && test ${p_j} != same; then
        setenv p_bit 80000000
        for p_k in 00 08 10 18 20 28 30 38 40 48 50 58 60 68 70 78 80 88 90 98 a0 a8 b0 b8 c0 c8 d0 d8 e0 e8 f0 f8; do
            crc32 -v ${p_ah}${p_j}${p_k}000 0x8000 *${p_th}${p_j}${p_k} || run p_differs
            setexpr p_bit ${p_bit} / 0x2
        done
        setexpr p_bits fmt %08x ${p_bits}
        setexpr p_hashes ${p_hashes} - 0x20
        setexpr p_seen ${p_seen} + 0x1
        setexpr p_guess ${p_cost} * ${p_odds}
        setexpr p_worth ${p_z} / 0x200
        setexpr p_worth ${p_worth} + ${p_s}
        setexpr p_worth ${p_worth} / 0x2
        setexpr p_worth ${p_worth} * ${p_seen}
        itest 0x${p_guess} -lt 0x${p_worth} || setenv p_go no
    fi
    setenv p_mask "${p_mask}${p_bits}"
done
run p_end_run
test ${p_go} = yes'
setenv p_differs '
setexpr p_bits ${p_bits} + ${p_bit}
if itest 0x${p_j}${p_k} == 0x${p_next}; then
    setexpr p_length ${p_length} + 0x8
else
    run p_end_run
    setenv p_from ${p_j}${p_k}
    setenv p_length 8
    setexpr p_cost ${p_cost} + 0x100
fi
setexpr p_cost ${p_cost} + 0x40
setexpr p_sum ${p_sum} + 0x8000
setexpr p_next ${p_from} + ${p_length}'
setenv p_end_run 'itest 0x${p_length} == 0x0 || setenv p_runs "${p_runs}setenv p_from ${p_from}; setenv p_length ${p_length}; run p_run; "'
setenv p_run '
if test ${p_good} = yes; then
    setexpr p_first ${p_from} * 0x8
    setexpr p_some ${p_length} * 0x8
    setexpr p_rest ${p_s} - ${p_first}
    if itest 0x${p_some} -gt 0x${p_rest}; then
        setenv p_some ${p_rest}
    fi
    setexpr p_at ${p_first} * 0x200
    setexpr p_at ${p_a} + ${p_at}
    run ${p_step} || setenv p_good no
fi'
setenv p_all_runs 'setenv p_good yes && run p_runs && test ${p_good} = yes'
setenv p_fits 'hash -v sha256 ${p_a} ${p_bytes} ${p_h}'
# One behind the other with one file, where a chunk's own would be; then each goes to its place.
setenv p_image yes
setenv p_no_image '
echo "rpiflash: {{image_file}} cannot be read in pieces: files of chunks are loaded"
setenv p_image no
test ${p_image} = yes'
setenv p_gather 'setexpr p_lba ${p_l} + 0x0 && setenv filesize 0 && tftpboot ${p_b} ${ethaddr}/{{image_file}}@${p_lba}-${p_mask}'
setenv p_put 'setexpr p_want ${p_some} * 0x200 && cp.b ${p_piece} ${p_at} ${p_want} && setexpr p_piece ${p_piece} + ${p_want}'
setenv p_put_all 'run p_count && setenv p_piece ${p_b} && setenv p_step p_put && run p_all_runs'
setenv p_from_image 'test ${p_image} = yes && itest 0x${p_sum} -le ${p_z} && run p_try_image && run p_put_all && run p_fits'
setenv p_try_image 'run p_gather || run p_no_image'
# Or the chunk's file, unpacked beside what was read from the card.
setenv p_aside '
setenv p_to ${p_b}
test ${p_e} = raw || setenv p_to ${l_back}
setenv filesize 0
tftpboot ${p_to} ${ethaddr}/${p_f} && run p_count && itest 0x${filesize} == ${p_z} && run p_unpack_aside'
setenv p_unpack_aside 'test ${p_e} = raw || run p_unzip_aside'
setenv p_unzip_aside 'setenv filesize 0; unzip ${l_back} ${p_b} ${p_bytes} && itest 0x${filesize} == 0x${p_bytes}'
setenv p_take 'setexpr p_want ${p_some} * 0x200 && setexpr p_piece ${p_first} * 0x200 && setexpr p_piece ${p_b} + ${p_piece} && cp.b ${p_piece} ${p_at} ${p_want}'
setenv p_from_file 'run p_aside && setenv p_step p_take && run p_all_runs && run p_fits'
setenv p_set 'setenv l_from ${p_at} && setexpr l_block ${p_block} + ${p_first} && setenv l_blocks ${p_some} && run l_write && setexpr p_new ${p_new} + ${p_some}'
setenv p_set_all 'run p_touch && setenv p_step p_set && run p_all_runs'
# Chunks that are never looked at in pieces: short ones, those whose mask is longer than a name in U-Boot may be, and all
# of them where there is no table or no more crc32 to spend.
setenv p_whole 'test ${p_pieces} = no || itest ${p_s} -le 0x180 || itest ${p_s} -gt 0x6000 || itest 0x${p_hashes} -le 0x400'
setenv p_by_pieces '
if test ${p_read} = no || run p_whole; then
    true
else
    echo "rpiflash: chunk ${p_n} of {{chunk_count}}: looking for what differs in it"
    if run p_table && run p_prepare && run p_find; then
        if itest 0x${p_odds} == 0x0; then
            run p_fits && setenv p_done yes
        else
            if run p_from_image || run p_from_file; then
                run p_set_all && setenv p_done yes
            fi
        fi
    fi
fi'

# Make the chunk what it should be.
setenv p_make '
setenv p_done no
setenv p_new 0
run p_by_pieces
if test ${p_done} = yes; then
    # A chunk of which a quarter had to be written is not what the card was expected to have.
    setexpr p_some ${p_new} * 0x4
    if itest 0x${p_some} -gt ${p_s}; then
        run p_miss
    else
        run p_hit
        itest 0x${p_new} == 0x0 || setenv p_expect yes
    fi
else
    test ${p_read} = no || run p_miss
    setenv p_try 0
    while test ${p_done} = no && itest 0x${p_try} -lt 0x3; do
        if run p_load && run p_store; then
            setenv p_done yes
            setexpr p_new ${p_s} + 0x0
        else
            echo "rpiflash: chunk ${p_n} of {{chunk_count}}: ${p_cause}"
            if test ${p_code} = lost_write; then
                setexpr p_try ${p_try} + ${p_tries_lost}
                test ${p_tries_lost} = 0x3 || run l_recover
            else
                setexpr p_try ${p_try} + 0x1
                setexpr rpi_retries ${rpi_retries} + 0x1
            fi
        fi
    done
fi
if test ${p_done} = yes; then
    setexpr p_old ${p_s} - ${p_new}
    setexpr rpi_written ${rpi_written} + ${p_new}
    setexpr rpi_same ${rpi_same} + ${p_old}
    setexpr rpi_chunks ${rpi_chunks} + 0x1
    if itest 0x${p_new} == 0x0; then
        echo "rpiflash: chunk ${p_n} of {{chunk_count}}: there already"
    else
        echo "rpiflash: chunk ${p_n} of {{chunk_count}}: wrote 0x${p_new} of ${p_s} sectors"
    fi
else
    run p_is_bad
    setenv rpi_reason "${p_cause}"
    setenv p_state "chunk ${p_n} of {{chunk_count}}, sector 0x${p_block}: ${p_cause}"
fi'
setenv p_is_bad '
setexpr rpi_bad_count ${rpi_bad_count} + 0x1
if test -z "${rpi_bad_chunk}"; then
    setenv rpi_bad_chunk ${p_n}
    setenv rpi_bad_lba ${p_block}
fi'
setenv p_chunk '
if test "${p_state}" = ok; then
    if run p_place; then
        run p_look
        if test ${p_have} = yes; then
            run p_hit
            setexpr rpi_same ${rpi_same} + ${p_s}
            setexpr rpi_chunks ${rpi_chunks} + 0x1
            echo "rpiflash: chunk ${p_n} of {{chunk_count}}: there already"
        else
            if test ${p_mode} = verify; then
                echo "rpiflash: chunk ${p_n} of {{chunk_count}}: differs, sector 0x${p_block} on"
                run p_is_bad
            else
                run p_make
            fi
        fi
    else
        setenv p_code outside
        setenv p_state "chunk ${p_n} lies outside of partition ${p_p}"
    fi
fi'

# The chunks, two lines each from templates/plan-chunk.cmd: number (decimal), partition, offset there, sectors, SHA-256,
# encoding, length of the file, its name, offset of the chunk in the table of pieces, sector of the image.
{{chunks}}
# Done: only what was proven counts, and it must be everything.
if test "${p_state}" = ok; then
    if itest 0x${rpi_bad_count} -gt 0x0; then
        setenv p_code differs
        setenv p_state "0x${rpi_bad_count} chunks differ, the first is ${rpi_bad_chunk} at sector 0x${rpi_bad_lba}"
    fi
fi
setexpr l_written ${rpi_written} + ${rpi_same}
if test "${p_state}" = ok; then
    if itest 0x${l_written} == {{total_sectors}}; then
        setenv p_code
    else
        setenv p_code miscounted
        setenv p_state "0x${l_written} sectors were proven instead of {{total_sectors}}"
    fi
fi
if test "${p_state}" = ok; then
    setenv l_outcome OK
    setenv rpi_state ok
else
    setenv l_outcome FAILED
    setenv rpi_code ${p_code}
    test -n "${rpi_reason}" || setenv rpi_reason "${p_state}"
    echo "rpiflash: ${p_state}"
fi
setexpr rpi_retries ${rpi_retries} + ${l_retries}
echo "rpiflash: wrote 0x${rpi_written} sectors, 0x${rpi_same} were there, loaded 0x${rpi_fetched}, 0x${rpi_retries} retries"
setenv tftptimeoutcountmax 5
env export -t ${l_text} rpi_report rpi_job rpi_state rpi_code rpi_reason rpi_chunks rpi_written rpi_same rpi_fetched rpi_retries rpi_bad_count rpi_bad_chunk rpi_bad_lba rpi_card rpi_script rpi_board ver serial#
setenv p_length ${filesize}
setenv p_put 'tftpput ${l_text} ${p_length} ${ethaddr}/REPORT'
run p_put || run p_put || run p_put || run p_put || run p_put || echo "rpiflash: cannot upload REPORT"
run l_report
