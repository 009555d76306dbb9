# A card whose rpiflash.env says where its console goes sends it there already.
if test {{netconsole}} = yes && test -z "${netconsole}"; then
    setenv ncip ${serverip}
    run l_send_console
fi
# Older boot scripts do not say it, and older U-Boots ignore it.
setenv netkeep yes
echo "rpiflash: flash plan {{job}}, {{mode}}: {{chunk_count}} chunks, {{total_sectors}} sectors"
# Boot scripts from 4 on try what the card did not do again themselves (l_write), and count that. For older ones a chunk
# is.
setenv p_tries_lost 0x3
if test -z "${l_recover}"; then
    setenv p_tries_lost 0x1
    setenv l_retries 0
    setenv l_recover '
setexpr l_retries ${l_retries} + 0x1
mmc dev ${l_mmc}'
fi
part uuid mmc ${l_mmc}:1 rpi_card
# For the console: maker, product and size of the card.
mmc info

# RAM from l_image on, each from a multiple of 16 MiB: the chunk as it shall be on the card; its file as it was loaded;
# the table of all pieces. In front of that, at a multiple of 4 KiB, the chunk's own part of the table. So digits put
# together make addresses: <p_ram_digits><MiB><piece, 8 each>000 is a piece's, <p_table_digits><MiB><the same> that of
# its entry.
setenv p_map_ram '
setexpr p_ram_digits ${l_image} + 0xffffff &&
setexpr p_ram_digits ${p_ram_digits} / 0x1000000 &&
setexpr p_ram ${p_ram_digits} * 0x1000000 &&
setexpr p_file_ram ${p_ram} + 0x1000000 &&
setexpr p_table ${p_ram} + 0x2000000 &&
setexpr p_table_digits ${p_table} / 0x1000 &&
setexpr p_all_tables ${p_table} + 0x100000'

# Everything that can be refused is refused here, with nothing written.
setenv p_check_api 'test -z "${l_api}" || test "${l_api}" = 1'
setenv p_check_names '
test -n "${l_write}" &&
test -n "${l_check_card}" &&
test -n "${l_report}" &&
test -n "${ethaddr}" &&
run p_map_ram'
setenv p_check_card 'run l_check_card && part size mmc ${l_mmc} 2 p_p2size'
setenv p_check_fit 'itest {{boot_sectors}} -le 0x${p_p2size} && itest {{rootfs_sectors}} -le 0x${l_p3size}'
setenv p_check_size '
setexpr p_end 0x${l_p3} + 0x${l_p3size} &&
setexpr p_end ${p_end} - 0x1 &&
mmc dev ${l_mmc} &&
mmc read ${p_ram} ${p_end} 0x1'
if run p_check_api && run p_check_names; then
    if run p_check_card; then
        if run p_check_fit; then
            if run p_check_size || run p_check_size; then
                setenv p_code
            else
                setenv p_code short_card
                setenv p_state "the card ends before sector 0x${p_end}, its partition table is larger than it"
            fi
        else
            setenv p_code no_fit
            setenv p_state "the image does not fit the card: it needs {{boot_sectors}} and {{rootfs_sectors}} sectors"
            setenv p_state "${p_state}, partitions 2 and 3 have 0x${p_p2size} and 0x${l_p3size}"
        fi
    else
        setenv p_code other_layout
        setenv p_state "partitions 2 and 3 of the card start at 0x${l_p2} and 0x${l_p3}"
        setenv p_state "${p_state}, its boot script was made for ${l_boot_start} and ${l_rootfs_start}"
    fi
else
    setenv p_code old_boot_script
    setenv p_state "this plan is for boot scripts with l_api 1, the card has ${l_api}"
    setenv p_state "${p_state}: bring it up to date with rpiflash upgrade"
fi

