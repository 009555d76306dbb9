# rpiflash boot script for {{board}}: finds an image and flashes it, else boots what is on the card.
# Made by rpiflash-gen from templates/boot; templates/README.md explains the values in double braces.
#
# From U-Boot: l_mmc (bootcmd: the card's number), ethaddr, fdtfile, fdt_addr, fdtcontroladdr, stdout, stderr,
# kernel_addr_r, ramdisk_addr_r, scriptaddr, pxefile_addr_r. Names that start with l_ are this script's own.
# All numbers are hexadecimal, all card positions are sectors of 512 bytes. A step counts only if it succeeded.

# The key of a bench signs boot scripts as well as plans: one that comes in a plan's place is not run.
if test -n "${l_script}"; then
    echo "rpiflash: this is a boot script, and one has run already"
    exit
fi
echo "rpiflash: boot script for {{board}}, card layout {{boot_start}}/{{rootfs_start}}"
test -n "${l_mmc}" || setenv l_mmc 0
# Which boot script this is: hexadecimal, one more with every change of it. A flash reports it.
setenv l_script 6
setenv l_board {{board}}
# The names of the keys that this card knows: it runs only plans that one of them has signed. None: it runs every plan.
setenv l_keys "{{keys}}"

# Where this card's partitions 2 and 3 start. The card's own table must say the same, or nothing is written (law 1).
setenv l_boot_start {{boot_start}}
setenv l_rootfs_start {{rootfs_start}}
# The first 4 MiB of part 0, which are never written.
setenv l_skip {{image_skip}}

# RAM. Small things lie in the 1 MiB at pxefile_addr_r, a part of an image fills the RAM from ramdisk_addr_r. l_copy is
# where env export puts a variable, and what is only read to see whether the card answers. What is read back from the
# card to be compared has the 16 MiB at l_back; the kernel comes there later. To boot, the kernel has the RAM from
# kernel_addr_r to l_fdt; then device tree, initramfs, and room to unpack. What counts of config.txt is gathered at
# l_counts.
setenv l_map_ram '
setenv l_zeros ${pxefile_addr_r} &&
setexpr l_first ${pxefile_addr_r} + 0x1000 &&
setexpr l_count ${pxefile_addr_r} + 0x2000 &&
setexpr l_line ${pxefile_addr_r} + 0x10007 &&
setexpr l_text ${l_line} + 0x1 &&
setexpr l_counts ${pxefile_addr_r} + 0x60000 &&
setexpr l_copy ${pxefile_addr_r} + 0x80000 &&
setenv l_image ${ramdisk_addr_r} &&
setenv l_plan ${scriptaddr} &&
setenv l_back ${kernel_addr_r} &&
setexpr l_fdt ${ramdisk_addr_r} + 0x2000000 &&
setexpr l_initramfs ${ramdisk_addr_r} + 0x2100000 &&
setexpr kernel_comp_addr_r ${ramdisk_addr_r} + 0x8000000'
setenv l_cannot_map_ram '
echo "rpiflash: U-Boot has no addresses or no room for variables; starting again in 10 seconds"
sleep 10
reset'
run l_map_ram || run l_cannot_map_ram

# The card. One that lost step (a command timed out) answers nothing more until it is set up anew. So a command that
# failed is tried again behind that; these tries are counted and reported. l_card does what l_do names, once more if
# need be.
setenv l_retries 0
setenv l_recover '
setexpr l_retries ${l_retries} + 0x1
echo "rpiflash: a command to the card failed: it is set up anew, retry 0x${l_retries}"
mmc dev ${l_mmc} || run l_recover_late'
setenv l_recover_late '
sleep 1
mmc dev ${l_mmc}'
setenv l_card 'run ${l_do} || run l_card_again'
setenv l_card_again 'run l_recover && run ${l_do}'

# Files: l_file of partition l_volume, to RAM at l_to_ram, l_most bytes of it or with 0 all. That one is not there
# counts only when a card that answers says so: boot.scr is longer than what U-Boot keeps of the card in RAM, and is
# there.
setenv l_most 0
setenv l_ask 'test -e mmc ${l_mmc}:${l_volume} ${l_file}'
setenv l_answers 'load mmc ${l_mmc}:1 ${l_copy} boot.scr'
setenv l_ask_again '
run l_answers || run l_recover
run l_ask'
setenv l_exists 'run l_ask || run l_ask_again'
setenv l_size_of 'size mmc ${l_mmc}:${l_volume} ${l_file}'
setenv l_content_of 'load mmc ${l_mmc}:${l_volume} ${l_to_ram} ${l_file} ${l_most}'
setenv l_size_file '
setenv l_do l_size_of
run l_card'
setenv l_load_file '
setenv l_do l_content_of
run l_card'

# Settings from partition 1; the file can be edited on any PC. What it does not name is unset.
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
# A card for which a debug console was asked: a key that was sent in these seconds leads to U-Boot's prompt, which
# resets after two minutes without a command. On all others nothing that comes over the serial line counts.
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

