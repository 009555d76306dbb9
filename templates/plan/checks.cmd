# Older boot scripts do not say it, and older U-Boots ignore it.
setenv netkeep yes
echo "rpiflash: flash plan ${p_job}, ${p_mode}: ${p_chunk_count} chunks, ${p_total_sectors} sectors"
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

# Everything that can be refused is refused here, with nothing written.
setenv p_check_api 'test -z "${l_api}" || test "${l_api}" = 1'
setenv p_check_names '
test -n "${l_write}" &&
test -n "${l_check_card}" &&
test -n "${l_report}" &&
test -n "${ethaddr}" &&
run p_map_ram'
setenv p_check_card 'run l_check_card && part size mmc ${l_mmc} 2 p_p2size'
setenv p_check_fit 'itest ${p_boot_sectors} -le 0x${p_p2size} && itest ${p_rootfs_sectors} -le 0x${l_p3size}'
setenv p_check_size '
setexpr p_end 0x${l_p3} + 0x${l_p3size} &&
setexpr p_end ${p_end} - 0x1 &&
mmc dev ${l_mmc} &&
mmc read ${p_ram} ${p_end} 0x1'
if test "${p_state}" = ok; then
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
                setenv p_state "the image does not fit the card: it needs ${p_boot_sectors} and ${p_rootfs_sectors} sectors"
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
fi

