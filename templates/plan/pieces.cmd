# Or load only what differs. The table of pieces has 8 bytes for each 32 KiB: its CRC-32, then (in the first of 32) that
# of the whole MiB. MiBs that differ are looked at closer; the pieces found are loaded and written where that is cheaper
# than the chunk as a whole: a run of pieces counts as 128 KiB more than it has. They come from the image itself, all
# with one file, or from the chunk's file where that is shorter, or the image has something else there than the card
# shall get. The chunk then must have its SHA-256 as a whole, with what was read from the card, before a byte is
# written. U-Boot 2023.01 loses about 320 bytes of memory at each crc32 and hash: their number is limited (l_hashes),
# and two for each chunk are kept back; one whose pieces are compared may take two more.
setenv p_pieces ${p_has_pieces}
setenv p_hashes 1000
test -z "${l_hashes}" || setexpr p_hashes ${l_hashes} + 0x0
if itest 0x${p_hashes} -gt {{hashes_kept}}; then
    setexpr p_hashes ${p_hashes} - {{hashes_kept}}
else
    setenv p_hashes 0
fi
setenv p_need_tables 'test ${p_pieces} = loaded || run p_load_tables'
setenv p_load_tables '
setenv filesize 0
setenv p_pieces no
tftpboot ${p_all_tables} ${ethaddr}/${p_pieces_file} &&
run p_count_file &&
itest 0x${filesize} == ${p_pieces_size} &&
setenv p_pieces loaded
test ${p_pieces} = loaded || echo "rpiflash: ${p_pieces_file} did not load in full: chunks are loaded whole"
test ${p_pieces} = loaded'
# The chunk's entries to their place, zeros behind the chunk's end up to a whole MiB.
setenv p_prepare '
setexpr p_mibs ${p_sectors} + 0x7ff &&
setexpr p_mibs ${p_mibs} / 0x800 &&
setexpr p_length ${p_mibs} * 0x100 &&
setexpr p_address ${p_all_tables} + ${p_entries} &&
cp.b ${p_address} ${p_table} ${p_length} &&
setexpr p_address ${p_ram} + ${p_bytes} &&
setexpr p_length ${p_mibs} * 0x100000 &&
setexpr p_length ${p_length} - ${p_bytes} &&
run p_pad'
setenv p_pad 'itest 0x${p_length} == 0x0 || mw.b ${p_address} 0x0 ${p_length}'

# p_map says of each MiB whether it differs; p_mask has a bit for each piece of the chunk, the highest first; p_runs is
# what calls p_run for each run of pieces that differ. Comparing ends where loading them costs more than the whole
# chunk: the mean of its length and its file's, while the MiBs compared so far stand for all that differ.
setenv p_find '
setenv p_map
setenv p_differing 0
for p_mib in 0 1 2 3 4 5 6 7 8 9 a b; do
    if itest 0x${p_mib} -lt 0x${p_mibs}; then
        if crc32 -v ${p_ram_digits}${p_mib}00000 0x100000 *${p_table_digits}${p_mib}04; then
            setenv p_map "${p_map} same"
        else
            setenv p_map "${p_map} ${p_mib}"
            setexpr p_differing ${p_differing} + 0x1
        fi
    fi
done
setexpr p_hashes ${p_hashes} - ${p_mibs}
setexpr p_hashes ${p_hashes} - 0x2
setenv p_is_cheaper yes
setenv p_compared 0
setenv p_cost 0
setenv p_run_end ffff
setenv p_run_length 0
setenv p_runs
setenv p_pieces_bytes 0
setenv p_mask
for p_mib in ${p_map}; do
    setenv p_bits 00000000
    if test ${p_is_cheaper} = yes && test ${p_mib} != same; then
        setenv p_bit 80000000
        for p_piece in 00 08 10 18 20 28 30 38 40 48 50 58 60 68 70 78 80 88 90 98 a0 a8 b0 b8 c0 c8 d0 d8 e0 e8 f0 f8; do
            crc32 -v ${p_ram_digits}${p_mib}${p_piece}000 0x8000 *${p_table_digits}${p_mib}${p_piece} || run p_differs
            setexpr p_bit ${p_bit} / 0x2
        done
        setexpr p_bits fmt %08x ${p_bits}
        setexpr p_hashes ${p_hashes} - 0x20
        setexpr p_compared ${p_compared} + 0x1
        setexpr p_expected_cost ${p_cost} * ${p_differing}
        setexpr p_whole_cost ${p_size} / 0x200
        setexpr p_whole_cost ${p_whole_cost} + ${p_sectors}
        setexpr p_whole_cost ${p_whole_cost} / 0x2
        setexpr p_whole_cost ${p_whole_cost} * ${p_compared}
        itest 0x${p_expected_cost} -lt 0x${p_whole_cost} || setenv p_is_cheaper no
    fi
    setenv p_mask "${p_mask}${p_bits}"
done
run p_end_run
test ${p_is_cheaper} = yes'
setenv p_differs '
setexpr p_bits ${p_bits} + ${p_bit}
if itest 0x${p_mib}${p_piece} == 0x${p_run_end}; then
    setexpr p_run_length ${p_run_length} + 0x8
else
    run p_end_run
    setenv p_run_start ${p_mib}${p_piece}
    setenv p_run_length 8
    setexpr p_cost ${p_cost} + 0x100
fi
setexpr p_cost ${p_cost} + 0x40
setexpr p_pieces_bytes ${p_pieces_bytes} + 0x8000
setexpr p_run_end ${p_run_start} + ${p_run_length}'
setenv p_end_run 'itest 0x${p_run_length} == 0x0 || run p_add_run'
setenv p_add_run '
setenv p_runs "${p_runs}setenv p_run_start ${p_run_start}; setenv p_run_length ${p_run_length}; run p_run; "'

# Do p_step for each run: p_run_sectors from sector p_run_sector of the chunk on, at p_address in RAM.
setenv p_run '
if test ${p_good} = yes; then
    setenv p_good no
    run p_place_run && run ${p_step} && setenv p_good yes
fi'
setenv p_place_run '
setexpr p_run_sector ${p_run_start} * 0x8 &&
setexpr p_run_sectors ${p_run_length} * 0x8 &&
setexpr p_rest ${p_sectors} - ${p_run_sector} &&
run p_cut_run &&
setexpr p_address ${p_run_sector} * 0x200 &&
setexpr p_address ${p_ram} + ${p_address}'
setenv p_cut_run 'itest 0x${p_run_sectors} -le 0x${p_rest} || setenv p_run_sectors ${p_rest}'
setenv p_all_runs '
setenv p_good yes &&
run p_runs &&
test ${p_good} = yes'
# One behind the other with one file, where a chunk's own would be; then each goes to its place.
setenv p_image yes
setenv p_no_image '
echo "rpiflash: ${p_image_file} cannot be read in pieces: files of chunks are loaded"
setenv p_image no
test ${p_image} = yes'
setenv p_gather '
setexpr p_image_start ${p_lba} + 0x0 &&
setenv filesize 0 &&
tftpboot ${p_file_ram} ${ethaddr}/${p_image_file}@${p_image_start}-${p_mask}'
setenv p_put_run '
setexpr p_length ${p_run_sectors} * 0x200 &&
cp.b ${p_source} ${p_address} ${p_length} &&
setexpr p_source ${p_source} + ${p_length}'
setenv p_put_all '
run p_count_file &&
setenv p_source ${p_file_ram} &&
setenv p_step p_put_run &&
run p_all_runs'
setenv p_from_image '
test ${p_image} = yes &&
itest 0x${p_pieces_bytes} -le ${p_size} &&
run p_try_image &&
run p_put_all &&
run p_is_right'
setenv p_try_image 'run p_gather || run p_no_image'
# Or the chunk's file, unpacked beside what was read from the card.
setenv p_load_aside '
setenv p_load_to ${p_file_ram}
test ${p_encoding} = raw || setenv p_load_to ${l_back}
setenv filesize 0
tftpboot ${p_load_to} ${ethaddr}/${p_file} &&
run p_count_file &&
itest 0x${filesize} == ${p_size} &&
run p_unpack_aside'
setenv p_unpack_aside 'test ${p_encoding} = raw || run p_unzip_aside'
setenv p_unzip_aside '
setenv filesize 0
unzip ${l_back} ${p_file_ram} ${p_bytes} &&
itest 0x${filesize} == 0x${p_bytes}'
setenv p_take_run '
setexpr p_length ${p_run_sectors} * 0x200 &&
setexpr p_source ${p_run_sector} * 0x200 &&
setexpr p_source ${p_file_ram} + ${p_source} &&
cp.b ${p_source} ${p_address} ${p_length}'
setenv p_from_file '
run p_load_aside &&
setenv p_step p_take_run &&
run p_all_runs &&
run p_is_right'
setenv p_write_run '
setenv l_from ${p_address} &&
setexpr l_block ${p_block} + ${p_run_sector} &&
setenv l_blocks ${p_run_sectors} &&
run l_write &&
setexpr p_new ${p_new} + ${p_run_sectors}'
setenv p_write_all '
run p_before_write &&
setenv p_step p_write_run &&
run p_all_runs'

# Chunks that are never looked at in pieces: short ones, those whose mask is longer than a name in U-Boot may be, and
# all of them where there is no table or no more crc32 to spend.
setenv p_never_in_pieces '
test ${p_pieces} = no ||
itest ${p_sectors} -le 0x180 ||
itest ${p_sectors} -gt 0x6000 ||
itest 0x${p_hashes} -le 0x400'
setenv p_by_pieces '
if test ${p_was_read} = no || run p_never_in_pieces; then
    true
else
    echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: looking for what differs in it"
    if run p_need_tables && run p_prepare && run p_find; then
        if itest 0x${p_differing} == 0x0; then
            run p_is_right && setenv p_done yes
        else
            if run p_from_image || run p_from_file; then
                run p_write_all && setenv p_done yes
            fi
        fi
    fi
fi'

