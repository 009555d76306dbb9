# What is to be done, as data: the lines from here to p_image_file, and those of the chunks. Whoever carries out plans without
# U-Boot reads these lines and no others (docs/plan-protocol.md has their grammar). They come after the permission: nothing
# that ran for that has set them.
setenv p_plan 1
setenv p_job {{job}}
setenv p_mode {{mode}}
setenv p_target {{target}}
setenv p_needs_keys {{needs_keys}}
setenv p_console {{netconsole}}
setenv p_chunk_count {{chunk_count}}
setenv p_total_sectors {{total_sectors}}
setenv p_boot_sectors {{boot_sectors}}
setenv p_rootfs_sectors {{rootfs_sectors}}
setenv p_has_pieces {{pieces}}
setenv p_pieces_file {{pieces_file}}
setenv p_pieces_size {{pieces_size}}
setenv p_image_file {{image_file}}

