# Boot what is on partition 2.
#
# What the image's files hold is data. U-Boot's shell parses a command once more after it has put in the values of its
# variables, and their quotes, blanks, backslashes and '$' count then; so such a text is never written as a variable's
# value in a command. setexpr.s makes a variable of a text in RAM, setexpr NAME gsub changes it where it is, env export
# brings it back; a value is used in a command only after everything but harmless characters was taken out of it. Nor is
# setexpr asked whether it found something: U-Boot 2023.01 says so, 2025.01 does not. docs/images.md has the rules;
# Sources/core/BootFiles reads the same files by the same rules on the server.
setenv l_state ok
setenv l_kernel
setenv l_initramfs_name none
setenv l_initramfs_arg -
setenv l_fdt_name "the one of U-Boot"
setenv l_fdt_arg
setenv bootargs
setenv l_uuid

# config.txt into RAM, with a line feed in front of every line, and behind the last one.
setenv l_read_config '
run l_load_file &&
setexpr l_window ${l_text} - 0x1 &&
setexpr l_end ${l_text} + 0x${filesize} &&
mw.b ${l_window} 0xa 0x1 &&
mw.b ${l_end} 0xa 0x1'
# Its lines from l_window to l_next.
setenv l_take_lines '
mw.b ${l_next} 0x0 0x1 &&
setexpr.s l_config *${l_window} &&
mw.b ${l_next} 0xa 0x1'
# Append l_config: env export puts 'l_config=' in front, and a line feed and a zero byte behind.
setenv l_append '
env exists l_config &&
env export -t ${l_copy} l_config &&
setexpr l_at ${l_copy} + 0x9 &&
setexpr l_size 0x${filesize} - 0xb &&
cp.b ${l_at} ${l_to} ${l_size} &&
setexpr l_to ${l_to} + ${l_size} &&
mw.b ${l_to} 0x0 0x1 &&
setexpr l_size ${l_to} - ${l_counts}'
setenv l_no_room 'setenv l_state "U-Boot has no room for the settings of config.txt"'
# A mark behind the last line too, and one only between two.
setenv l_close '
mw.b ${l_to} 0x3e 0x1 &&
setexpr l_to ${l_to} + 0x1 &&
mw.b ${l_to} 0x0 0x1 &&
setexpr.s l_config *${l_counts}'
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
run l_append || run l_no_room
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
        run l_read_config || setenv l_state "config.txt on partition 2 cannot be read"
    fi
    # A substitution in all of a text fails in U-Boot where the text's length and the place of a match are more than 16
    # KiB together (cmd/setexpr.c): so less than 8 KiB of whole lines, then the next.
    while test "${l_state}" = ok && itest ${l_window} -lt ${l_end}; do
        setexpr l_next ${l_window} + 0x1e00
        if itest ${l_next} -gt ${l_end}; then
            setenv l_next ${l_end}
        fi
        while itest ${l_next} -gt ${l_window} && itest.b *${l_next} -ne 0xa; do
            setexpr l_next ${l_next} - 0x1
        done
        if itest ${l_next} -gt ${l_window}; then
            run l_take_lines || run l_no_room
            setenv l_window ${l_next}
            # Comments go, and lines that do not begin as those that count.
            setexpr l_config gsub '#[^\\n]*' ''
            setexpr l_config gsub '\\n[^[koiruc \\t\\n][^\\n]*' ''
            # Each line begins with >, without blanks; blanks are one, and none around =; < > { } ! are marks, see
            # below; what is in no usual file name becomes a question mark, which is in none at all.
            if env exists l_config; then
                setexpr l_config gsub '[<>{}!]' '?'
                setexpr l_config gsub '\\n[ \\t\\r]*' '>'
                setexpr l_config gsub '>[>]+' '>'
                setexpr l_config gsub '[ \\t\\r]+' ' '
                setexpr l_config gsub ' ?= ?' '='
                setexpr l_config gsub '[^ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+@~,=> [\\]-]' '?'
                run l_append || run l_no_room
                itest ${l_size} -le 0x1f80 || setenv l_state "config.txt has more than 0x1e00 bytes of settings"
            fi
        else
            setenv l_state "config.txt has a line of 0x1e00 bytes or more; must be shorter"
        fi
    done
fi
if test "${l_state}" = ok; then
    run l_close || run l_no_room
    setexpr l_config gsub '>[>]+' '>'
    setenv l_to ${l_counts}
    run l_append || run l_no_room
    itest ${l_size} -le 0x1e00 || setenv l_state "config.txt has more than 0x1e00 bytes of settings"
fi
if test "${l_state}" = ok; then
    # Sections: { is [all], } this board's, < another board's, ! any other condition. A condition holds up to [all],
    # another board's section up to one of this board or [all] ([tryboot] names another os_prefix, [pi5] another
    # kernel).
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
    run l_append || run l_no_room
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
setenv l_take_line '
mw.b ${l_line} 0x20 0x1 &&
mw.b ${l_end} 0xa 0x1 &&
setexpr l_end ${l_end} + 0x1 &&
mw.b ${l_end} 0x0 0x1 &&
setexpr.s bootargs *${l_line}'
setenv l_copy_line '
env export -t ${l_copy} bootargs &&
setexpr l_at ${l_copy} + 0x9 &&
setexpr.s l_content *${l_at} &&
setexpr.s l_root *${l_at}'
if test "${l_state}" = ok; then
    # The kernel takes half of that.
    setenv l_most 0x1000
    for l_name in ${cmdline} cmdline.txt; do
        for l_dir in ${l_dirs}; do
            setenv l_file ${l_dir}${l_name}
            if test -z "${l_found}" && run l_exists; then
                if run l_load_file && setexpr l_end ${l_text} + 0x${filesize}; then
                    setenv l_found ${l_file}
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
    run l_take_line || setenv l_state "U-Boot has no room for the command line of the kernel"
    setexpr bootargs sub '[\\r]*\\n.*' ''
    # Has it words, has it a root=? Two copies, of which nothing is left if not.
    run l_copy_line || setenv l_state "U-Boot has no room for the command line of the kernel"
    setexpr l_content gsub '[ \\t\\r\\n]' ''
    env exists l_content ||
        setenv l_state "the first line of ${l_found} is empty; must be the command line of the kernel"
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

# The initramfs that config.txt names (its line may go on: 'followkernel' is not a file), else the one that belongs to
# the kernel: initrd.img-X to vmlinuz-X, else the usual ones.
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
