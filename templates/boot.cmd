# rpiflash boot script for {{board}}: finds an image and flashes it, else boots what is on the card.
# Made by rpiflash-gen from templates/boot.cmd; templates/README.md explains the values in double braces.
#
# From U-Boot: l_mmc (bootcmd: the card's number), ethaddr, fdtfile, fdt_addr, fdtcontroladdr, stdout, stderr,
# kernel_addr_r, ramdisk_addr_r, scriptaddr, pxefile_addr_r. Names that start with l_ are this script's own.
# All numbers are hexadecimal, all card positions are sectors of 512 bytes. A step counts only if it succeeded.

echo "rpiflash: boot script for {{board}}, card layout {{boot_start}}/{{rootfs_start}}"
test -n "${l_mmc}" || setenv l_mmc 0
# Which boot script this is: hexadecimal, one more with every change of this file. A flash reports it.
setenv l_script 4
setenv l_board {{board}}

# Where this card's partitions 2 and 3 start. The card's own table must say the same, or nothing is written (law 1).
setenv l_boot_start {{boot_start}}
setenv l_rootfs_start {{rootfs_start}}
# The first 4 MiB of part 0, which are never written.
setenv l_skip {{image_skip}}

# RAM. Small things lie in the 1 MiB at pxefile_addr_r, a part of an image fills the RAM from ramdisk_addr_r.
setenv l_zeros ${pxefile_addr_r}
setexpr l_first ${pxefile_addr_r} + 0x1000
setexpr l_count ${pxefile_addr_r} + 0x2000
setexpr l_line ${pxefile_addr_r} + 0x10000
setexpr l_text ${l_line} + 0x8
setenv l_image ${ramdisk_addr_r}
setenv l_plan ${scriptaddr}
# What is read back from the card to be compared, 16 MiB; the kernel comes later.
setenv l_back ${kernel_addr_r}
# Where env export puts a variable, and what is only read to see whether the card answers.
setexpr l_copy ${pxefile_addr_r} + 0x80000
# To boot: the kernel has the RAM from kernel_addr_r to l_fdt; then device tree, initramfs, and room to unpack.
setexpr l_fdt ${ramdisk_addr_r} + 0x2000000
setexpr l_initramfs ${ramdisk_addr_r} + 0x2100000
setexpr kernel_comp_addr_r ${ramdisk_addr_r} + 0x8000000

# The card. One that lost step (a command timed out) answers nothing more until it is set up anew. So a command that failed
# is tried again behind that; these tries are counted and reported. l_card does what l_do names, once more if need be.
setenv l_retries 0
setenv l_recover '
setexpr l_retries ${l_retries} + 0x1
echo "rpiflash: a command to the card failed: it is set up anew, retry 0x${l_retries}"
mmc dev ${l_mmc} || run l_recover_late'
setenv l_recover_late 'sleep 1; mmc dev ${l_mmc}'
setenv l_card 'run ${l_do} || run l_card_again'
setenv l_card_again 'run l_recover && run ${l_do}'

# Files: l_file of partition l_volume, to RAM at l_to_ram, l_most bytes of it or with 0 all. That one is not there counts only
# when a card that answers says so: boot.scr is longer than what U-Boot keeps of the card in RAM, and is there.
setenv l_most 0
setenv l_ask 'test -e mmc ${l_mmc}:${l_volume} ${l_file}'
setenv l_answers 'load mmc ${l_mmc}:1 ${l_copy} boot.scr'
setenv l_ask_again 'run l_answers || run l_recover; run l_ask'
setenv l_exists 'run l_ask || run l_ask_again'
setenv l_size_of 'size mmc ${l_mmc}:${l_volume} ${l_file}'
setenv l_content_of 'load mmc ${l_mmc}:${l_volume} ${l_to_ram} ${l_file} ${l_most}'
setenv l_size_file 'setenv l_do l_size_of; run l_card'
setenv l_load_file 'setenv l_do l_content_of; run l_card'

# 1. Settings from partition 1; the file can be edited on any PC. What it does not name is unset.
setenv l_serverip
setenv l_volume 1
setenv l_file rpiflash.env
setenv l_to_ram ${l_text}
if run l_exists && run l_load_file; then
    env import -t -r ${l_text} ${filesize} serverip ipaddr netmask gatewayip netconsole debug_console
    # They are written in commands: what is in no address and no word goes, such as a quote.
    for l_key in serverip ipaddr netmask gatewayip netconsole debug_console; do
        if env exists ${l_key}; then
            setexpr ${l_key} gsub "[^0123456789.abcdefghijklmnopqrstuvwxyz]" ""
        fi
    done
fi
# A card for which a debug console was asked: a key that was sent in these seconds leads to U-Boot's prompt, which resets
# after two minutes without a command. On all others nothing that comes over the serial line counts.
if test "${debug_console}" = yes; then
    echo "rpiflash: debug console: press a key within 5 seconds for the prompt of U-Boot"
    sleep 5
    setenv l_prompt
    # Takes what was sent, and does not wait for more (common/cli_readline.c, boot/bootretry.c).
    askenv l_prompt "rpiflash: debug console:"
    if env exists l_prompt; then
        setenv l_prompt yes
        echo "rpiflash: debug console: reset starts again"
        exit
    fi
fi
test -n "${serverip}" || setenv serverip {{server_address}}
setenv l_serverip ${serverip}

# 2. The network. Every wait is bounded: without a network or a server the target boots what it has.
setenv l_network no
setenv netretry no
# Ethernet stays up between transfers: its start costs a Pi 3 a negotiation of seconds. uboot/patches; others ignore it.
setenv netkeep yes
setenv bootpretryperiod 15000
if test {{usb_ethernet}} = yes && test -z "${ethact}"; then
    usb start
fi
if test -n "${ipaddr}"; then
    setenv l_network yes
else
    setenv autoload no
    if dhcp; then
        setenv l_network yes
        # The DHCP server's own idea of a TFTP server counts only where the card has none.
        test -z "${l_serverip}" || setenv serverip ${l_serverip}
    fi
fi
if test ${l_network} = yes && test -z "${serverip}"; then
    setenv l_network no
    echo "rpiflash: no serverip in rpiflash.env and none by DHCP: not asking for an image"
fi
if test -z "${ethaddr}"; then
    setenv l_network no
    echo "rpiflash: no Ethernet address: not asking for an image"
fi
# A console that is sent to nobody costs seconds for each line: who does not answer a ping gets none.
if test ${l_network} = yes && test -n "${netconsole}"; then
    ping ${netconsole} || setenv netconsole
fi
if test ${l_network} = yes && test -n "${netconsole}"; then
    test -n "${stdout}" || setenv stdout serial
    test -n "${stderr}" || setenv stderr serial
    setenv ncip ${netconsole}
    setenv stdout ${stdout},nc
    setenv stderr ${stderr},nc
fi

# The outcome, exactly once: the bytes written, 8 bytes little endian, made from sectors so that 32 bits suffice.
setenv l_put 'tftpput ${l_count} 0x8 ${ethaddr}/${l_outcome}'
setenv l_report 'setenv tftptimeoutcountmax 5; setexpr l_low ${l_written} * 0x200; setexpr l_high ${l_written} / 0x800000; setexpr l_count_high ${l_count} + 0x4; mw.l ${l_count} ${l_low} 0x1; mw.l ${l_count_high} ${l_high} 0x1; echo "rpiflash: ${l_outcome}, 0x${l_written} sectors written, the card had 0x${l_retries} retries"; run l_put || run l_put || run l_put || run l_put || run l_put || echo "rpiflash: cannot upload ${l_outcome}"'

# Everything that can be refused is refused here, with nothing written. Conditions are positive: an empty or garbled
# value fails them.
setenv l_find_card 'mmc dev ${l_mmc} && part start mmc ${l_mmc} 2 l_p2 && part start mmc ${l_mmc} 3 l_p3 && part size mmc ${l_mmc} 3 l_p3size && itest 0x${l_p2} == ${l_boot_start} && itest 0x${l_p3} == ${l_rootfs_start}'
setenv l_check_card 'run l_find_card || run l_find_card'
setenv l_check_manifest 'test -n "${rpi_parts}" && test -n "${rpi_part_sectors}" && test -n "${rpi_total_sectors}" && test -n "${rpi_rootfs_offset}" && itest ${rpi_skip_sectors} == ${l_skip} && setexpr l_least ${l_skip} + 0x2 && itest ${rpi_parts} -ge 0x1 && itest ${rpi_part_sectors} -ge ${l_least} && itest ${rpi_total_sectors} -ge ${l_least} && setexpr l_full ${rpi_parts} - 0x1 && setexpr l_full ${l_full} * ${rpi_part_sectors} && itest ${l_full} -lt ${rpi_total_sectors} && setexpr l_full ${l_full} + ${rpi_part_sectors} && itest ${rpi_total_sectors} -le ${l_full}'
setenv l_check_fit 'setexpr l_room ${l_p3} + ${l_p3size} && setexpr l_room ${l_room} - ${l_p2} && setexpr l_span ${l_p3} - ${l_p2} && setexpr l_need ${rpi_total_sectors} - ${l_skip} && itest ${l_span} == ${rpi_rootfs_offset} && itest ${l_need} -le ${l_room}'
setenv l_check_size 'setexpr l_last ${l_p2} + ${l_need} && setexpr l_last ${l_last} - 0x1 && setenv l_do l_last_sector && run l_card'
setenv l_last_sector 'mmc read ${l_first} ${l_last} 0x1'

# Write l_blocks sectors from RAM at l_from to l_block, then read them back and compare: a card that says it wrote is not
# believed. 4 MiB a command: a controller that answers only when it is done must do so within U-Boot's second. A command
# that failed is tried three times, as is what does not compare, which is written again before.
setenv l_step 'setexpr l_some ${l_blocks} - ${l_done}; if itest ${l_some} -gt 0x2000; then setexpr l_some 0x2000 + 0x0; fi; setexpr l_at ${l_block} + ${l_done}; setexpr l_ram ${l_done} * 0x200; setexpr l_ram ${l_from} + ${l_ram}; setexpr l_words ${l_some} * ${l_sector}'
setenv l_put_step 'mmc write ${l_ram} ${l_at} ${l_some}'
# 8 bytes at a time where the board has 64 bits: that takes half as long.
if test {{boot_command}} = booti; then
    setenv l_sector 0x40
    setenv l_compare_step 'mmc read ${l_back} ${l_at} ${l_some} && cmp.q ${l_back} ${l_ram} ${l_words}'
else
    setenv l_sector 0x80
    setenv l_compare_step 'mmc read ${l_back} ${l_at} ${l_some} && cmp.l ${l_back} ${l_ram} ${l_words}'
fi
setenv l_check_step 'test ${l_tries} = 0 || run l_put_step; run l_compare_step'
setenv l_steps '
setenv l_done 0
setenv l_tries 0
while itest 0x${l_done} -lt ${l_blocks} && itest 0x${l_tries} -lt 0x3; do
    run l_step
    if run ${l_do}; then
        setexpr l_done ${l_done} + ${l_some}
        setenv l_tries 0
    else
        echo "rpiflash: the card does not hold what was written, in the 0x${l_some} sectors from 0x${l_at}"
        setexpr l_tries ${l_tries} + 0x1
        run l_recover
    fi
done
itest 0x${l_done} == ${l_blocks}'
setenv l_write 'setenv l_do l_put_step; run l_steps && setenv l_do l_check_step && run l_steps'

# One part: load it in its full length, then write it. Part 0 brings the first block of partition 2, which is kept
# back; zeros take its place, so that a half-written card never boots (law 3).
setenv l_load 'setexpr l_number fmt %d ${l_part} && setenv filesize 0 && tftpboot ${l_image} ${ethaddr}/rpi_image_part_${l_number} && setexpr l_bytes ${l_want} * 0x200 && itest 0x${filesize} == ${l_bytes}'
setenv l_invalidate 'mw.b ${l_zeros} 0x0 0x200 && setenv l_from ${l_zeros} && setenv l_block ${l_p2} && setenv l_blocks 0x1 && run l_write'
setenv l_write_first 'setexpr l_start ${l_skip} * 0x200 && setexpr l_start ${l_image} + ${l_start} && cp.b ${l_start} ${l_first} 0x200 && run l_invalidate && setexpr l_from ${l_start} + 0x200 && setexpr l_block ${l_p2} + 0x1 && setexpr l_blocks ${l_want} - ${l_skip} && setexpr l_blocks ${l_blocks} - 0x1 && run l_write'
setenv l_write_next 'setenv l_from ${l_image} && setenv l_blocks ${l_want} && run l_write'
setenv l_advance 'setexpr l_block ${l_block} + ${l_blocks} && setexpr l_written ${l_written} + ${l_blocks} && setexpr l_left ${l_left} - ${l_want} && setexpr l_part ${l_part} + 0x1'
setenv l_write_last 'setenv l_from ${l_first} && setenv l_block ${l_p2} && setenv l_blocks 0x1 && run l_write'

if test ${l_network} = yes; then
    # Questions: an answer comes at once or not at all.
    setenv tftptimeout 1000
    setenv tftptimeoutcountmax 5

    # 3. A flash plan says all that is to be done, and reports for itself. l_api: the version of the names that it may
    # use; l_hashes: how many hash and crc32 it may run, each costs 320 bytes of memory (CONFIG_SYS_MALLOC_LEN).
    setenv l_api 1
    setenv l_hashes 0x8000
    if tftpboot ${l_plan} ${ethaddr}/flash.scr; then
        setenv tftptimeoutcountmax 30
        echo "rpiflash: running the flash plan"
        source ${l_plan}:plan || echo "rpiflash: the flash plan failed"
    else
        # 4. An image in parts.
        if tftpboot ${l_text} ${ethaddr}/rpi_image_parts; then
            setenv tftptimeoutcountmax 30
            setenv l_state ok
            setenv l_written 0
            env import -t -r ${l_text} ${filesize} rpi_parts rpi_part_sectors rpi_total_sectors rpi_skip_sectors rpi_rootfs_offset
            if run l_check_card; then
                if run l_check_manifest; then
                    if run l_check_fit; then
                        run l_check_size || setenv l_state "the card ends before sector 0x${l_last}, its partition table is larger than it"
                    else
                        setenv l_state "the image does not fit the card: 0x${l_need} sectors with the rootfs at ${rpi_rootfs_offset}, the card has 0x${l_room} with the rootfs at 0x${l_span}"
                    fi
                else
                    setenv l_state "rpi_image_parts is not a usable manifest"
                fi
            else
                setenv l_state "partitions 2 and 3 of the card start at 0x${l_p2} and 0x${l_p3}, this script was made for ${l_boot_start} and ${l_rootfs_start}"
            fi
            if test "${l_state}" = ok; then
                echo "rpiflash: flashing ${rpi_parts} parts, 0x${l_need} sectors"
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
                    itest ${l_written} == ${l_need} || setenv l_state "0x${l_written} sectors written instead of 0x${l_need}"
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

# 5. Boot what is on partition 2.
#
# What the image's files hold is data. U-Boot's shell parses a command once more after it has put in the values of its
# variables, and their quotes, blanks, backslashes and '$' count then; so such a text is never written as a variable's
# value in a command. setexpr.s makes a variable of a text in RAM, setexpr NAME gsub changes it where it is, env export brings
# it back; a value is used in a command only after everything but harmless characters was taken out of it. Nor is setexpr
# asked whether it found something: U-Boot 2023.01 says so, 2025.01 does not.
# docs/images.md has the rules; Sources/core/BootFiles reads the same files by the same rules on the server.
setenv l_state ok
setenv l_kernel
setenv l_initramfs_name none
setenv l_initramfs_arg -
setenv l_fdt_name "the one of U-Boot"
setenv l_fdt_arg
setenv bootargs
setenv l_uuid
# What counts of config.txt is gathered here.
setexpr l_counts ${pxefile_addr_r} + 0x60000

# Append l_config: env export puts 'l_config=' in front, and a line feed and a zero byte behind.
setenv l_append '
env export -t ${l_copy} l_config
setexpr l_at ${l_copy} + 0x9
setexpr l_size 0x${filesize} - 0xb
cp.b ${l_at} ${l_to} ${l_size}
setexpr l_to ${l_to} + ${l_size}
mw.b ${l_to} 0x0 0x1'
# Sections of this board get the mark }.
setenv l_own_section '
setenv l_model
setexpr l_model sub "^.*${l_pattern}.*" "yes" ${fdtfile}
if test "${l_model}" = yes; then
    setexpr l_config gsub ">[[]${l_section}][^>]*" ">}"
fi'

# Every setting is there once, without a value, in front of all.
setenv l_to ${l_counts}
setenv l_config '>kernel=>os_prefix=>initramfs=>ramfsfile=>upstream_kernel=>cmdline='
run l_append
# Where the image's files are.
setenv l_volume 2
setenv l_top /
setenv l_file ${l_top}config.txt
setenv l_to_ram ${l_text}
if run l_exists; then
    setenv filesize 0
    run l_size_file
    if itest 0x${filesize} -gt 0x40000; then
        setenv l_state "config.txt has 0x${filesize} bytes; must be at most 0x40000"
    else
        run l_load_file || setenv l_state "config.txt on partition 2 cannot be read"
        # Every line has a line feed in front, the last one has one behind it too.
        setexpr l_window ${l_text} - 0x1
        setexpr l_end ${l_text} + 0x${filesize}
        mw.b ${l_window} 0xa 0x1
        mw.b ${l_end} 0xa 0x1
    fi
    # A substitution in all of a text fails in U-Boot where the text's length and the place of a match are more than 16 KiB
    # together (cmd/setexpr.c): so less than 8 KiB of whole lines, then the next.
    while test "${l_state}" = ok && itest ${l_window} -lt ${l_end}; do
        setexpr l_next ${l_window} + 0x1e00
        if itest ${l_next} -gt ${l_end}; then
            setenv l_next ${l_end}
        fi
        while itest ${l_next} -gt ${l_window} && itest.b *${l_next} -ne 0xa; do
            setexpr l_next ${l_next} - 0x1
        done
        if itest ${l_next} == ${l_window}; then
            setenv l_state "config.txt has a line of 0x1e00 bytes or more; must be shorter"
        else
            mw.b ${l_next} 0x0 0x1
            setexpr.s l_config *${l_window}
            mw.b ${l_next} 0xa 0x1
            setenv l_window ${l_next}
            # Comments go, and lines that do not begin as those that count.
            setexpr l_config gsub '#[^\\n]*' ''
            setexpr l_config gsub '\\n[^[koiruc \\t\\n][^\\n]*' ''
            # Each line begins with >, without blanks; blanks are one, and none around =; < > { } ! are marks, see below;
            # what is in no usual file name becomes a question mark, which is in none at all.
            if env exists l_config; then
                setexpr l_config gsub '[<>{}!]' '?'
                setexpr l_config gsub '\\n[ \\t\\r]*' '>'
                setexpr l_config gsub '>[>]+' '>'
                setexpr l_config gsub '[ \\t\\r]+' ' '
                setexpr l_config gsub ' ?= ?' '='
                setexpr l_config gsub '[^ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+@~,=> [\\]-]' '?'
                run l_append
                setexpr l_size ${l_to} - ${l_counts}
                itest ${l_size} -le 0x1f80 || setenv l_state "config.txt has more than 0x1e00 bytes of settings"
            fi
        fi
    done
fi
if test "${l_state}" = ok; then
    # A mark behind the last line too, and one only between two.
    mw.b ${l_to} 0x3e 0x1
    setexpr l_to ${l_to} + 0x1
    mw.b ${l_to} 0x0 0x1
    setexpr.s l_config *${l_counts}
    setexpr l_config gsub '>[>]+' '>'
    setenv l_to ${l_counts}
    run l_append
    itest ${l_size} -le 0x1e00 || setenv l_state "config.txt has more than 0x1e00 bytes of settings"
fi
if test "${l_state}" = ok; then
    # Sections: { is [all], } this board's, < another board's, ! any other condition. A condition holds up to [all],
    # another board's section up to one of this board or [all] ([tryboot] names another os_prefix, [pi5] another kernel).
    setexpr l_config gsub '>[[][aA][lL][lL]][^>]*' '>{'
    if test -n "${fdtfile}"; then
        setenv l_pattern rpi-3; setenv l_section "[pP][iI]3"; run l_own_section
        setenv l_pattern cm3; setenv l_section "[pP][iI]3"; run l_own_section
        setenv l_pattern "3-[ab]-plus"; setenv l_section "[pP][iI]3[+]"; run l_own_section
        setenv l_pattern zero-2; setenv l_section "[pP][iI]02"; run l_own_section
        setenv l_pattern rpi-4; setenv l_section "[pP][iI]4"; run l_own_section
        setenv l_pattern cm4; setenv l_section "[pP][iI]4"; run l_own_section
        setenv l_pattern rpi-400; setenv l_section "[pP][iI]400"; run l_own_section
        setenv l_pattern cm3; setenv l_section "[cC][mM]3"; run l_own_section
        setenv l_pattern "cm4[^s]"; setenv l_section "[cC][mM]4"; run l_own_section
    fi
    setexpr l_config gsub '>[[][pP][iI][^>]*' '><'
    setexpr l_config gsub '>[[][cC][mM][^>]*' '><'
    setexpr l_config gsub '>[[][nN][oO][nN][eE]][^>]*' '><'
    setexpr l_config gsub '>[[][^>]*' '>!'
    setexpr l_config gsub '![^{]*' ''
    setexpr l_config gsub '<[^{}]*' ''
    setexpr l_config gsub '[[\\]]' '?'
    setexpr l_config gsub '>initramfs ' '>initramfs='
    setenv l_to ${l_counts}
    run l_append
    # Of a name the last line counts; its value ends at a blank or a comma.
    for l_key in kernel os_prefix initramfs ramfsfile upstream_kernel cmdline; do
        setexpr.s ${l_key} *${l_counts}
        setexpr ${l_key} sub "^.*>${l_key}(=[^ >,]*).*" "\\1"
        setexpr ${l_key} sub "^=" ""
    done
fi
# In the folder that os_prefix names, else at the top.
setenv l_dirs ${l_top}
test -z "${os_prefix}" || setenv l_dirs "${l_top}${os_prefix} ${l_top}"

# The command line is the first line of its file, with a blank in front.
setenv l_found
if test "${l_state}" = ok; then
    setexpr l_line ${l_text} - 0x1
    mw.b ${l_line} 0x20 0x1
    # The kernel takes half of that.
    setenv l_most 0x1000
    for l_name in ${cmdline} cmdline.txt; do
        for l_dir in ${l_dirs}; do
            setenv l_file ${l_dir}${l_name}
            if test -z "${l_found}" && run l_exists; then
                if run l_load_file; then
                    setenv l_found ${l_file}
                    setexpr l_end ${l_text} + 0x${filesize}
                fi
            fi
        done
    done
    setenv l_most 0
    test -n "${l_found}" || setenv l_state "no cmdline.txt on partition 2: the card is empty or half written"
fi
setenv l_uuid_of 'part uuid mmc ${l_mmc}:3 l_uuid'
setenv l_do l_uuid_of
run l_card || setenv l_state "no partition 3"
if test "${l_state}" = ok; then
    mw.b ${l_end} 0xa 0x1
    setexpr l_end ${l_end} + 0x1
    mw.b ${l_end} 0x0 0x1
    setexpr.s bootargs *${l_line}
    setexpr bootargs sub '[\\r]*\\n.*' ''
    # Has it words, has it a root=? Two copies, of which nothing is left if not.
    env export -t ${l_copy} bootargs
    setexpr l_at ${l_copy} + 0x9
    setexpr.s l_content *${l_at}
    setexpr l_content gsub '[ \\t\\r\\n]' ''
    env exists l_content || setenv l_state "the first line of ${l_found} is empty; must be the command line of the kernel"
    setexpr.s l_root *${l_at}
    setexpr l_root gsub '@' '?'
    setexpr l_root sub '^.*[ \\t]root=.*' '@'
    setexpr l_root gsub '[^@]' ''
    # The rootfs is on this card's partition 3, whatever the image called it; everything else stays as it is.
    if env exists l_root; then
        setexpr bootargs gsub "[ \\t]root=[^ \\t]*" " root=PARTUUID=${l_uuid}"
    else
        setexpr bootargs sub "^ " " root=PARTUUID=${l_uuid} "
    fi
    setexpr bootargs gsub '[ \\t]console=serial0' ' console={{serial0}}'
    setexpr bootargs gsub '[ \\t]console=serial1' ' console={{serial1}}'
fi

# The kernel that config.txt names, else the usual ones.
setenv l_to_ram ${kernel_addr_r}
for l_name in ${kernel} {{kernels}}; do
    for l_dir in ${l_dirs}; do
        setenv l_file ${l_dir}${l_name}
        if test -z "${l_kernel}" && run l_exists; then
            if run l_load_file; then
                setenv l_kernel ${l_file}
                setenv kernel_comp_size ${filesize}
            fi
        fi
    done
done
if test -z "${l_kernel}"; then
    test "${l_state}" = ok && setenv l_state "no kernel on partition 2"
fi

# The initramfs that config.txt names (its line may go on: 'followkernel' is not a file), else the one that belongs to the
# kernel: initrd.img-X to vmlinuz-X, else the usual ones.
setenv l_own
setenv l_is_own
if test -n "${l_kernel}"; then
    setexpr l_own sub "^.*/vmlinuz" "initrd.img" ${l_kernel}
    setexpr l_is_own sub "^.*/vmlinuz.*" "yes" ${l_kernel}
    test "${l_is_own}" = yes || setenv l_own
fi
setenv l_to_ram ${l_initramfs}
for l_name in ${initramfs} ${ramfsfile} ${l_own} {{initramfs}}; do
    for l_dir in ${l_dirs}; do
        setenv l_file ${l_dir}${l_name}
        if test "${l_initramfs_arg}" = - && run l_exists; then
            if run l_load_file; then
                setenv l_initramfs_name ${l_file}
                setenv l_initramfs_arg ${l_initramfs}:${filesize}
            fi
        fi
    done
done

# The device tree, as the firmware chooses: the vendor kernel's, or where config.txt has upstream_kernel=1, upstream's;
# then the other one, then what the firmware handed over. Some boards' names differ, and U-Boot has either's.
if test {{kernel_device_tree}} = image; then
    setenv l_dtb ${fdtfile}
    setexpr l_dtb sub "^.*/" ""
    setenv l_vendor_dtb ${l_dtb}
    setexpr l_vendor_dtb sub "bcm2837" "bcm2710"
    setexpr l_vendor_dtb sub "3-a-plus" "3-b-plus"
    setexpr l_dtb sub "-cm3[.]" "-cm3-io3."
    setexpr l_dtb sub "-cm4[.]" "-cm4-io."
    setexpr l_dtb sub "-zero-2[.]" "-zero-2-w."
    setenv l_names "${l_vendor_dtb} ${l_dtb}"
    if test "${upstream_kernel}" = 1; then
        setenv l_names "${l_dtb} ${l_vendor_dtb}"
    fi
    setenv l_to_ram ${l_fdt}
    for l_name in ${l_names}; do
        for l_dir in ${l_dirs}; do
            setenv l_file ${l_dir}${l_name}
            if test -z "${l_fdt_arg}" && run l_exists; then
                if run l_load_file; then
                    setenv l_fdt_name ${l_file}
                    setenv l_fdt_arg ${l_fdt}
                fi
            fi
        done
    done
    if test -z "${l_fdt_arg}"; then
        setenv l_fdt_name "the one from the firmware, as no ${l_dtb} is on partition 2"
        setenv l_fdt_arg ${fdt_addr}
    fi
fi
test -n "${l_fdt_arg}" || setenv l_fdt_arg ${fdtcontroladdr}

if test "${l_state}" = ok; then
    echo "rpiflash: initramfs: ${l_initramfs_name}; device tree: ${l_fdt_name}"
    echo -n "rpiflash: starting ${l_kernel}: "
    env print bootargs
    {{boot_command}} ${kernel_addr_r} ${l_initramfs_arg} ${l_fdt_arg}
    # It came back: say what it is, by the magic numbers that arm64, arm and EFI kernels begin with.
    setenv l_state "${l_kernel} is no kernel that {{boot_command}} starts"
    setexpr l_at ${kernel_addr_r} + 0x38
    itest.l *${l_at} == 0x644d5241 && setenv l_state "${l_state}: it is for 64 bits"
    setexpr l_at ${kernel_addr_r} + 0x24
    itest.l *${l_at} == 0x16f2818 && setenv l_state "${l_state}: it is for 32 bits"
    setexpr l_at ${kernel_addr_r} + 0x4
    itest.l *${l_at} == 0x676d697a && setenv l_state "${l_state}: it is compressed for EFI"
fi
echo "rpiflash: cannot boot: ${l_state}"
echo "rpiflash: starting again in 10 seconds"
sleep 10
reset
