# Make the chunk what it should be.
setenv p_make '
setenv p_done no
setenv p_new 0
run p_by_pieces
if test ${p_done} = yes; then
    # A chunk of which a quarter had to be written is not what the card was expected to have.
    setexpr p_four_times ${p_new} * 0x4
    if itest 0x${p_four_times} -gt ${p_sectors}; then
        run p_miss
    else
        run p_hit
        itest 0x${p_new} == 0x0 || setenv p_differences_likely yes
    fi
else
    test ${p_was_read} = no || run p_miss
    setenv p_try 0
    while test ${p_done} = no && itest 0x${p_try} -lt 0x3; do
        if run p_load && run p_store; then
            setenv p_done yes
            setexpr p_new ${p_sectors} + 0x0
        else
            echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: ${p_cause}"
            if test ${p_code} = lost_write; then
                setexpr p_try ${p_try} + ${p_tries_lost}
                test ${p_tries_lost} = 0x3 || run l_recover
            else
                setexpr p_try ${p_try} + 0x1
                setexpr rpi_retries ${rpi_retries} + 0x1
            fi
        fi
    done
fi
if test ${p_done} = yes; then
    setexpr p_kept ${p_sectors} - ${p_new}
    setexpr rpi_written ${rpi_written} + ${p_new}
    setexpr rpi_same ${rpi_same} + ${p_kept}
    setexpr rpi_chunks ${rpi_chunks} + 0x1
    if itest 0x${p_new} == 0x0; then
        echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: there already"
    else
        echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: wrote 0x${p_new} of ${p_sectors} sectors"
    fi
else
    run p_is_bad
    setenv rpi_reason "${p_cause}"
    setenv p_state "chunk ${p_number} of ${p_chunk_count}, sector 0x${p_block}: ${p_cause}"
fi'
setenv p_is_bad '
setexpr rpi_bad_count ${rpi_bad_count} + 0x1
if test -z "${rpi_bad_chunk}"; then
    setenv rpi_bad_chunk ${p_number}
    setenv rpi_bad_lba ${p_block}
fi'
setenv p_chunk '
if test "${p_state}" = ok; then
    if run p_place; then
        run p_look
        if test ${p_is_there} = yes; then
            run p_hit
            setexpr rpi_same ${rpi_same} + ${p_sectors}
            setexpr rpi_chunks ${rpi_chunks} + 0x1
            echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: there already"
        else
            if test ${p_mode} = verify; then
                echo "rpiflash: chunk ${p_number} of ${p_chunk_count}: differs, sector 0x${p_block} on"
                run p_is_bad
            else
                run p_make
            fi
        fi
    else
        setenv p_code outside
        setenv p_state "chunk ${p_number} lies outside of partition ${p_partition}"
    fi
fi'

# The chunks, two lines each from templates/plan/chunk.cmd: number (decimal), partition, offset there, sectors, SHA-256,
# encoding, length of the file, its name, offset of the chunk in the table of pieces, sector of the image.
{{chunks}}
