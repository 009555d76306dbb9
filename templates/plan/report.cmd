# Done: only what was proven counts, and it must be everything.
if test "${p_state}" = ok; then
    if itest 0x${rpi_bad_count} -gt 0x0; then
        setenv p_code differs
        setenv p_state "0x${rpi_bad_count} chunks differ, the first is ${rpi_bad_chunk} at sector 0x${rpi_bad_lba}"
    fi
fi
setexpr l_written ${rpi_written} + ${rpi_same}
if test "${p_state}" = ok; then
    if itest 0x${l_written} == ${p_total_sectors}; then
        setenv p_code
    else
        setenv p_code miscounted
        setenv p_state "0x${l_written} sectors were proven instead of ${p_total_sectors}"
    fi
fi
if test "${p_state}" = ok; then
    setenv l_outcome OK
    setenv rpi_state ok
else
    setenv l_outcome FAILED
    setenv rpi_code ${p_code}
    test -n "${rpi_reason}" || setenv rpi_reason "${p_state}"
    echo "rpiflash: ${p_state}"
fi
setexpr rpi_retries ${rpi_retries} + ${l_retries}
echo -n "rpiflash: wrote 0x${rpi_written} sectors, 0x${rpi_same} were there, "
echo "loaded 0x${rpi_fetched}, 0x${rpi_retries} retries"
setenv tftptimeoutcountmax 5
setenv p_result 'rpi_report rpi_job rpi_state rpi_code rpi_reason rpi_bad_count rpi_bad_chunk rpi_bad_lba'
setenv p_counts 'rpi_chunks rpi_written rpi_same rpi_fetched rpi_retries'
env export -t ${l_text} ${p_result} ${p_counts} rpi_card rpi_script rpi_board rpi_keys ver serial#
setenv p_report_size ${filesize}
setenv p_put 'tftpput ${l_text} ${p_report_size} ${ethaddr}/REPORT'
setenv p_put_often '
run p_put ||
run p_put ||
run p_put ||
run p_put ||
run p_put'
run p_put_often || echo "rpiflash: cannot upload REPORT"
run l_report
