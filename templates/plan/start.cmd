# rpiflash flash plan of job {{job}}: makes the card match an image, chunk by chunk. Rendered for this job from
# templates/plan and run by the card's boot script; docs/plan-protocol.md explains both and templates/README.md the
# values in double braces.
#
# From the boot script: l_mmc, l_image, l_back, l_zeros, l_text, l_p2, l_p3, l_p3size (by l_check_card), l_write,
# l_outcome, l_written, l_report; l_api, l_script, l_board and l_keys if it has them. From U-Boot: ethaddr, filesize, ver,
# serial#. Names that start with p_ are this plan's own. A chunk's own values (set on its line below) are variables of
# the shell, all others of the environment: no name is ever both. Names that start with rpi_ are the report's. All
# numbers are hexadecimal but for p_number, all card positions sectors of 512 bytes.

setenv p_state ok
setenv p_code
setenv rpi_report 1
setenv rpi_job {{job}}
setenv rpi_state failed
setenv rpi_code
setenv rpi_reason
setenv rpi_chunks 0
setenv rpi_written 0
setenv rpi_same 0
setenv rpi_fetched 0
setenv rpi_retries 0
setenv rpi_bad_count 0
setenv rpi_bad_chunk
setenv rpi_bad_lba
setenv rpi_card
setenv rpi_script ${l_script}
setenv rpi_board ${l_board}
setenv rpi_keys ${l_keys}
setenv rpi_challenge

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

