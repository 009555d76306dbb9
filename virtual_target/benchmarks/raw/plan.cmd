# What a target's card, network and processor take by themselves, measured chunk by chunk of a plan: a benchmark for the
# virtual target (virtual_target/benchmarks/bench-flash), which spoils what is on its card. Rendered in place of templates/plan.cmd:
# job {{job}}, {{mode}}, {{chunk_count}} chunks, {{total_sectors}} sectors ({{boot_sectors}} and {{rootfs_sectors}} in the image),
# pieces {{pieces}}: {{pieces_file}}, {{pieces_size}} bytes, {{image_file}}; {{hashes_kept}} hashes.
# The console says when each phase begins; who hears it knows the time. The flash ends as FAILED.
if test {{netconsole}} = yes; then
    setenv ncip ${serverip}
    setenv stdout serial,nc
    setenv stderr serial,nc
fi
setenv netkeep yes
setexpr p_a ${l_image} + 0xffffff
setexpr p_a ${p_a} / 0x1000000
setexpr p_a ${p_a} * 0x1000000
setexpr p_b ${p_a} + 0x1000000
setenv p_fetch 'tftpboot ${p_b} ${ethaddr}/${p_f}'
setenv p_unpack 'if test ${p_e} = gzip; then unzip ${p_b} ${p_a} ${p_bytes}; else cp.b ${p_b} ${p_a} ${p_bytes}; fi'
setenv p_read 'mmc read ${p_a} ${p_block} ${p_s}'
setenv p_load 'run p_fetch; run p_unpack'
setenv p_write 'mmc write ${p_a} ${p_block} ${p_s}; mmc read ${l_back} ${p_block} ${p_s}'
setenv p_compare 'setexpr p_words ${p_s} * 0x40; cmp.q ${p_a} ${l_back} ${p_words}'
setenv p_hash 'hash sha256 ${p_a} ${p_bytes}'
setenv p_crc 'crc32 ${p_a} ${p_bytes}'
setenv p_chunk '
setenv p_start ${l_p3}
if test ${p_p} = 2; then setenv p_start ${l_p2}; fi
setexpr p_block 0x${p_start} + ${p_o}
setexpr p_bytes ${p_s} * 0x200
run p_${p_step}'
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
