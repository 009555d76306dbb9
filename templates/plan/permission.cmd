# A card whose rpiflash.env says where its console goes sends it there already.
if test {{netconsole}} = yes && test -z "${netconsole}"; then
    setenv ncip ${serverip}
    run l_send_console
fi
# Is this plan for this target, and for now? Where the card has keys, whoever has heard the plan can send it again: so the
# target makes up a number that nobody knew before, and the server signs that with the number of the job, while its flash
# runs. docs/security.md. The job and the target are written out here, so that no other signed script can change them.
setenv p_target {{target}}
setenv p_is_for_us 'test {{target}} = any || test "${ethaddr}" = {{target}}'
setenv p_is_for_card 'test {{needs_keys}} = no || test -n "${l_keys}"'
# U-Boot's own random number, and what the firmware left in the device tree.
setenv p_seed_address ${l_text}
setenv p_seed_size 0x1
setenv p_find_seed '
fdt addr ${fdtcontroladdr} &&
fdt get addr p_seed_address /chosen rng-seed &&
fdt get size p_seed_size /chosen rng-seed'
setenv p_make_challenge '
run p_find_seed
uuid p_number_now &&
hash sha256 0x${p_seed_address} ${p_seed_size} p_seed &&
env export -t ${l_text} p_number_now p_seed &&
hash sha256 ${l_text} ${filesize} p_challenge &&
setenv rpi_challenge ${p_challenge} &&
env export -t ${l_text} rpi_job rpi_challenge &&
setenv p_challenge_size ${filesize}'
setenv p_put_challenge 'tftpput ${l_text} ${p_challenge_size} ${ethaddr}/CHALLENGE'
setenv p_ask '
setenv p_granted
sleep 0.3
tftpboot ${p_file_ram} ${ethaddr}/permission &&
itest.l *${p_file_ram} == 0xedfe0dd0 &&
source ${p_file_ram}:permission'
setenv p_ask_often '
run p_put_challenge || run p_put_challenge || run p_put_challenge
setenv tftptimeoutcountmax 5
setenv p_try 0
setenv p_has_permission no
while test ${p_has_permission} = no && itest 0x${p_try} -lt 0x1e; do
    setexpr p_try ${p_try} + 0x1
    run p_ask
    test "${p_granted}" != "{{job}}/${p_challenge}/{{target}}" || setenv p_has_permission yes
done
setenv tftptimeoutcountmax 30
test ${p_has_permission} = yes'
setenv p_may_run 'test -z "${l_keys}" || run p_permission'
setenv p_permission 'run p_map_ram && run p_make_challenge && run p_ask_often'
if test "${p_state}" = ok; then
    if run p_is_for_us; then
        if run p_is_for_card; then
            if run p_may_run; then
                setenv p_code
            else
                setenv p_code not_permitted
                setenv p_state "the server did not permit this plan now: it is an old one, or its server is gone"
            fi
        else
            setenv p_code unsigned_card
            setenv p_state "the inventory requires a card with a key (require_signed), and this card has none"
        fi
    else
        setenv p_code other_target
        setenv p_state "the plan is for target {{target}}, and this is ${ethaddr}"
    fi
fi

