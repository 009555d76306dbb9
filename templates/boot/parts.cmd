# Flashing: a flash plan if the server has one, else an image in parts. docs/parts-protocol.md, docs/plan-protocol.md. A
# plan uses what is defined here too: l_check_card, l_write, l_report (templates/README.md).

# The outcome, exactly once: the bytes written, 8 bytes little endian, made from sectors so that 32 bits suffice.
setenv l_encode_count '
setexpr l_low ${l_written} * 0x200 &&
setexpr l_high ${l_written} / 0x800000 &&
setexpr l_count_high ${l_count} + 0x4 &&
mw.l ${l_count} ${l_low} 0x1 &&
mw.l ${l_count_high} ${l_high} 0x1'
setenv l_put 'tftpput ${l_count} 0x8 ${ethaddr}/${l_outcome}'
setenv l_put_often '
run l_put ||
run l_put ||
run l_put ||
run l_put ||
run l_put'
setenv l_send_outcome 'run l_encode_count && run l_put_often'
setenv l_report '
setenv tftptimeoutcountmax 5
echo "rpiflash: ${l_outcome}, 0x${l_written} sectors written, the card had 0x${l_retries} retries"
run l_send_outcome || echo "rpiflash: cannot upload ${l_outcome}"'

# Everything that can be refused is refused here, with nothing written. Conditions are positive: an empty or garbled
# value fails them.
setenv l_find_card '
mmc dev ${l_mmc} &&
part start mmc ${l_mmc} 2 l_p2 &&
part start mmc ${l_mmc} 3 l_p3 &&
part size mmc ${l_mmc} 3 l_p3size &&
itest 0x${l_p2} == ${l_boot_start} &&
itest 0x${l_p3} == ${l_rootfs_start}'
setenv l_check_card 'run l_find_card || run l_find_card'
setenv l_manifest_names 'rpi_parts rpi_part_sectors rpi_total_sectors rpi_skip_sectors rpi_rootfs_offset'
setenv l_check_manifest '
test -n "${rpi_parts}" &&
test -n "${rpi_part_sectors}" &&
test -n "${rpi_total_sectors}" &&
test -n "${rpi_rootfs_offset}" &&
itest ${rpi_skip_sectors} == ${l_skip} &&
setexpr l_least ${l_skip} + 0x2 &&
itest ${rpi_parts} -ge 0x1 &&
itest ${rpi_part_sectors} -ge ${l_least} &&
itest ${rpi_total_sectors} -ge ${l_least} &&
setexpr l_full ${rpi_parts} - 0x1 &&
setexpr l_full ${l_full} * ${rpi_part_sectors} &&
itest ${l_full} -lt ${rpi_total_sectors} &&
setexpr l_full ${l_full} + ${rpi_part_sectors} &&
itest ${rpi_total_sectors} -le ${l_full}'
setenv l_check_fit '
setexpr l_room ${l_p3} + ${l_p3size} &&
setexpr l_room ${l_room} - ${l_p2} &&
setexpr l_span ${l_p3} - ${l_p2} &&
setexpr l_need ${rpi_total_sectors} - ${l_skip} &&
itest ${l_span} == ${rpi_rootfs_offset} &&
itest ${l_need} -le ${l_room}'
setenv l_check_size '
setexpr l_last ${l_p2} + ${l_need} &&
setexpr l_last ${l_last} - 0x1 &&
setenv l_do l_last_sector &&
run l_card'
setenv l_last_sector 'mmc read ${l_first} ${l_last} 0x1'

# Write l_blocks sectors from RAM at l_from to l_block, then read them back and compare: a card that says it wrote is
# not believed. 4 MiB a command: a controller that answers only when it is done must do so within U-Boot's second. A
# command that failed is tried three times, as is what does not compare, which is written again before.
setenv l_limit_step 'itest ${l_some} -le 0x2000 || setexpr l_some 0x2000 + 0x0'
setenv l_step '
setexpr l_some ${l_blocks} - ${l_done} &&
run l_limit_step &&
setexpr l_at ${l_block} + ${l_done} &&
setexpr l_ram ${l_done} * 0x200 &&
setexpr l_ram ${l_from} + ${l_ram} &&
setexpr l_words ${l_some} * ${l_sector}'
setenv l_put_step 'mmc write ${l_ram} ${l_at} ${l_some}'
# 8 bytes at a time where the board has 64 bits: that takes half as long.
if test {{boot_command}} = booti; then
    setenv l_sector 0x40
    setenv l_compare_step 'mmc read ${l_back} ${l_at} ${l_some} && cmp.q ${l_back} ${l_ram} ${l_words}'
else
    setenv l_sector 0x80
    setenv l_compare_step 'mmc read ${l_back} ${l_at} ${l_some} && cmp.l ${l_back} ${l_ram} ${l_words}'
fi
setenv l_check_step '
test ${l_tries} = 0 || run l_put_step
run l_compare_step'
setenv l_steps '
setenv l_done 0
setenv l_tries 0
while itest 0x${l_done} -lt ${l_blocks} && itest 0x${l_tries} -lt 0x3; do
    if run l_step && run ${l_do}; then
        setenv l_tries 0
        setexpr l_done ${l_done} + ${l_some} || setenv l_tries 3
    else
        echo "rpiflash: the card does not hold what was written, in the 0x${l_some} sectors from 0x${l_at}"
        setexpr l_tries ${l_tries} + 0x1
        run l_recover
    fi
done
itest 0x${l_done} == ${l_blocks}'
setenv l_write '
setenv l_do l_put_step &&
run l_steps &&
setenv l_do l_check_step &&
run l_steps'

# One part: load it in its full length, then write it. Part 0 brings the first block of partition 2, which is kept
# back; zeros take its place, so that a half-written card never boots (law 3).
setenv l_load '
setexpr l_number fmt %d ${l_part} &&
setenv filesize 0 &&
tftpboot ${l_image} ${ethaddr}/rpi_image_part_${l_number} &&
setexpr l_bytes ${l_want} * 0x200 &&
itest 0x${filesize} == ${l_bytes}'
setenv l_invalidate '
mw.b ${l_zeros} 0x0 0x200 &&
setenv l_from ${l_zeros} &&
setenv l_block ${l_p2} &&
setenv l_blocks 0x1 &&
run l_write'
setenv l_write_first '
setexpr l_start ${l_skip} * 0x200 &&
setexpr l_start ${l_image} + ${l_start} &&
cp.b ${l_start} ${l_first} 0x200 &&
run l_invalidate &&
setexpr l_from ${l_start} + 0x200 &&
setexpr l_block ${l_p2} + 0x1 &&
setexpr l_blocks ${l_want} - ${l_skip} &&
setexpr l_blocks ${l_blocks} - 0x1 &&
run l_write'
setenv l_write_next '
setenv l_from ${l_image} &&
setenv l_blocks ${l_want} &&
run l_write'
setenv l_advance '
setexpr l_block ${l_block} + ${l_blocks} &&
setexpr l_written ${l_written} + ${l_blocks} &&
setexpr l_left ${l_left} - ${l_want} &&
setexpr l_part ${l_part} + 0x1'
setenv l_write_last '
setenv l_from ${l_first} &&
setenv l_block ${l_p2} &&
setenv l_blocks 0x1 &&
run l_write'

# A plan. Where the card has keys, U-Boot must have them too: without them it would run everything. They are in its device
# tree, each required. What is no FIT image has no signature. Whether a plan has run it says itself, in rpi_state.
setenv l_check_key '
setenv l_required
fdt get value l_required /signature/key-${l_key} required &&
test "${l_required}" = image'
setenv l_check_keys '
setenv l_state
if fdt addr ${fdtcontroladdr}; then
    for l_key in ${l_keys}; do
        run l_check_key || setenv l_state "the device tree of U-Boot does not have the key ${l_key}"
    done
else
    setenv l_state "the device tree of U-Boot cannot be read"
fi'
setenv l_run_signed '
setenv l_code no_key
run l_check_keys
if test -z "${l_state}"; then
    setenv l_code not_signed
    setenv l_state "the plan is not signed by a key of this card (${l_keys})"
    itest.l *${l_plan} == 0xedfe0dd0 &&
        source ${l_plan}:plan
fi
test -n "${rpi_state}" || run l_refuse'
setenv l_run_plan 'source ${l_plan}:plan || echo "rpiflash: the flash plan failed"'
test -z "${l_keys}" || setenv l_run_plan 'run l_run_signed'

# What is refused is reported as a plan does it. It has told no number of a job: 0.
setenv l_put_report 'tftpput ${l_text} ${l_size} ${ethaddr}/REPORT'
setenv l_refuse '
echo "rpiflash: refused: ${l_state}"
setenv rpi_report 1
setenv rpi_job 0000000000000000
setenv rpi_state failed
setenv rpi_code ${l_code}
setenv rpi_reason "${l_state}"
for l_key in chunks written same fetched retries bad_count; do
    setenv rpi_${l_key} 0
done
setenv rpi_script ${l_script}
setenv rpi_board ${l_board}
setenv rpi_keys "${l_keys}"
setenv l_outcome FAILED
setenv l_written 0
setenv l_names "rpi_report rpi_job rpi_state rpi_code rpi_reason rpi_chunks rpi_written rpi_same rpi_fetched rpi_retries"
env export -t ${l_text} ${l_names} rpi_bad_count rpi_script rpi_board rpi_keys ver
setenv l_size ${filesize}
run l_put_report || run l_put_report || run l_put_report || echo "rpiflash: cannot upload REPORT"
run l_report'

if test ${l_network} = yes; then
    # Questions: an answer comes at once or not at all.
    setenv tftptimeout 1000
    setenv tftptimeoutcountmax 5

    # A flash plan says all that is to be done, and reports for itself. l_api: the version of the names that it may use;
    # l_hashes: how many hash and crc32 it may run, each costs 320 bytes of memory (CONFIG_SYS_MALLOC_LEN).
    setenv l_api 1
    setenv l_hashes 0x8000
    if tftpboot ${l_plan} ${ethaddr}/flash.scr; then
        setenv tftptimeoutcountmax 30
        echo "rpiflash: running the flash plan"
        setenv rpi_state
        run l_run_plan
    else
        # An image in parts.
        if tftpboot ${l_text} ${ethaddr}/rpi_image_parts; then
            if test -n "${l_keys}"; then
                setenv l_code unsigned_parts
                setenv l_state "an image in parts has no signature, and this card has keys (${l_keys})"
                run l_refuse
            else
                setenv tftptimeoutcountmax 30
                setenv l_state ok
                setenv l_written 0
                env import -t -r ${l_text} ${filesize} ${l_manifest_names}
                if run l_check_card; then
                    if run l_check_manifest; then
                        if run l_check_fit; then
                            if run l_check_size; then
                                echo "rpiflash: flashing ${rpi_parts} parts, 0x${l_need} sectors"
                            else
                                setenv l_state "the card ends before sector 0x${l_last}"
                                setenv l_state "${l_state}, its partition table is larger than it"
                            fi
                        else
                            setenv l_state "the image does not fit the card: 0x${l_need} sectors"
                            setenv l_state "${l_state} with the rootfs at ${rpi_rootfs_offset}, the card has 0x${l_room}"
                            setenv l_state "${l_state} with the rootfs at 0x${l_span}"
                        fi
                    else
                        setenv l_state "rpi_image_parts is not a usable manifest"
                    fi
                else
                    setenv l_state "partitions 2 and 3 of the card start at 0x${l_p2} and 0x${l_p3}"
                    setenv l_state "${l_state}, this script was made for ${l_boot_start} and ${l_rootfs_start}"
                fi

                setenv l_part 0
                setenv l_left ${rpi_total_sectors}
                while test "${l_state}" = ok && itest ${l_part} -lt ${rpi_parts}; do
                    setenv l_want ${rpi_part_sectors}
                    if itest ${l_left} -lt ${l_want}; then
                        setenv l_want ${l_left}
                    fi
                    if run l_load; then
                        if itest ${l_part} == 0x0; then
                            run l_write_first || setenv l_state "cannot write part 0x${l_part}"
                        else
                            run l_write_next || setenv l_state "cannot write part 0x${l_part}"
                        fi
                    else
                        setenv l_state "part 0x${l_part} did not load in full"
                    fi
                    if test "${l_state}" = ok; then
                        run l_advance || setenv l_state "cannot count part 0x${l_part}"
                    fi
                done

                # Everything else is on the card: now, and only now, it may boot.
                if test "${l_state}" = ok; then
                    if run l_write_last; then
                        setexpr l_written ${l_written} + 0x1
                        itest ${l_written} == ${l_need} ||
                            setenv l_state "0x${l_written} sectors written instead of 0x${l_need}"
                    else
                        setenv l_state "cannot write the first block of partition 2"
                    fi
                fi
                if test "${l_state}" = ok; then
                    setenv l_outcome OK
                else
                    setenv l_outcome FAILED
                    echo "rpiflash: ${l_state}"
                fi
                run l_report
            fi
        fi
    fi
fi

