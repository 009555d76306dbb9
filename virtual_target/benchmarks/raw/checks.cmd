# What a target's card, network and processor take by themselves, measured chunk by chunk of a plan: a benchmark for the
# virtual target (virtual_target/benchmarks/bench-flash), which spoils what is on its card. In place of templates/plan:
# job {{job}}, {{mode}}, {{chunk_count}} chunks, {{total_sectors}} sectors ({{boot_sectors}} and {{rootfs_sectors}} in the
# image), pieces {{pieces}}: {{pieces_file}}, {{pieces_size}} bytes, {{image_file}}; {{hashes_kept}} hashes.
# The console says when each phase begins; who hears it knows the time. The flash ends as FAILED.
if test {{netconsole}} = yes && test -z "${netconsole}"; then
    setenv ncip ${serverip}
    run l_send_console
fi
setenv netkeep yes
setexpr p_ram ${l_image} + 0xffffff
setexpr p_ram ${p_ram} / 0x1000000
setexpr p_ram ${p_ram} * 0x1000000
setexpr p_file_ram ${p_ram} + 0x1000000
setenv p_fetch 'tftpboot ${p_file_ram} ${ethaddr}/${p_file}'
setenv p_unpack '
if test ${p_encoding} = gzip; then
    unzip ${p_file_ram} ${p_ram} ${p_bytes}
else
    cp.b ${p_file_ram} ${p_ram} ${p_bytes}
fi'
setenv p_read 'mmc read ${p_ram} ${p_block} ${p_sectors}'
setenv p_load '
run p_fetch
run p_unpack'
setenv p_write '
mmc write ${p_ram} ${p_block} ${p_sectors}
mmc read ${l_back} ${p_block} ${p_sectors}'
setenv p_compare 'setexpr p_words ${p_sectors} * 0x40 && cmp.q ${p_ram} ${l_back} ${p_words}'
setenv p_hash 'hash sha256 ${p_ram} ${p_bytes}'
setenv p_crc 'crc32 ${p_ram} ${p_bytes}'
setenv p_chunk '
setenv p_start ${l_p3}
test ${p_partition} != 2 || setenv p_start ${l_p2}
setexpr p_block 0x${p_start} + ${p_offset} && setexpr p_bytes ${p_sectors} * 0x200 && run p_${p_step}'
if run l_check_card; then
    for p_step in fetch load write read hash crc compare; do
        echo "rpiflash: raw: ${p_step}"
{{chunks}}
    done
    echo "rpiflash: raw: done"
fi
setenv l_outcome FAILED
setenv l_written 0
run l_report
