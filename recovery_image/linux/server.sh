#!/bin/sh
# shellcheck shell=dash
# What is loaded from the server, uploaded to it, and believed. Sourced by init, whose names it uses.
# shellcheck disable=SC2034,SC2154

# get NAME FILE [SECONDS]: 0 where all of it came.
get() {
    rm -f "$2"
    timeout "${3:-300}" atftp --get --remote-file "$mac/$1" --local-file "$2" --option "blksize 1468" \
        --option "windowsize ${window:-32}" --tftp-timeout 1 "$serverip" 69 >/tmp/tftp.log 2>&1 && [ -f "$2" ]
}
# put FILE NAME: five times.
put() {
    local try
    for try in 1 2 3 4 5; do
        timeout 30 atftp --put --local-file "$1" --remote-file "$mac/$2" --tftp-timeout 1 "$serverip" 69 \
            >/tmp/tftp.log 2>&1 && return 0
        sleep 1
    done
    say "cannot upload $2"
    return 1
}

fit_magic() { [ "$(head -c 4 "$1" | xxd -p)" = d00dfeed ]; }
# bytes FILE NODE NAME: a property's bytes.
bytes() { fdtget -t bx "$1" "$2" "$3" 2>/dev/null | tr ' ' '\n' | sed 's/^.$/0&/' | tr -d '\n' | xxd -r -p; }
# signed_text FILE NAME OUT: the script NAME of a FIT image, if one of the card's keys has signed it; where the card has none,
# of any.
signed_text() {
    local node hint key
    bytes "$1" "/images/$2" data >"$3"
    [ -s "$3" ] || return 1
    [ -n "$card_keys" ] || return 0
    for node in $(fdtget -l "$1" "/images/$2" 2>/dev/null | grep -xE 'signature-[0-9]{1,2}'); do
        [ "$(fdtget "$1" "/images/$2/$node" algo 2>/dev/null)" = sha256,rsa2048 ] || continue
        hint=$(fdtget "$1" "/images/$2/$node" key-name-hint 2>/dev/null)
        for key in $card_keys; do
            [ "$key" = "$hint" ] || continue
            bytes "$1" "/images/$2/$node" value >/tmp/signature
            openssl dgst -sha256 -verify "/tmp/$key.pem" -signature /tmp/signature "$3" >/dev/null 2>&1 && return 0
        done
    done
    rm -f "$3"
    return 1
}
# plan_text FILE OUT: the plan's text, from a FIT image or, on a card without keys, a script image: 64 bytes of header and 8 of
# lengths.
plan_text() {
    if fit_magic "$1"; then
        signed_text "$1" plan "$2"
    else
        [ -z "$card_keys" ] && [ "$(head -c 4 "$1" | xxd -p)" = 27051956 ] &&
            [ $((0x$(tail -c +13 "$1" | head -c 4 | xxd -p) + 64)) -eq "$(stat -c %s "$1")" ] && tail -c +73 "$1" >"$2"
    fi
}

# permitted: the server signs this run's own number while its flash runs.
permitted() {
    local try
    [ -n "$card_keys" ] || return 0
    challenge=$(head -c 32 /dev/urandom | xxd -p | tr -d '\n')
    printf 'rpi_job=%s\nrpi_challenge=%s\n' "$p_job" "$challenge" >/tmp/challenge
    put /tmp/challenge CHALLENGE || return 1
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        usleep 300000
        get permission /tmp/permission 10 && fit_magic /tmp/permission &&
            signed_text /tmp/permission permission /tmp/granted &&
            [ "$(cat /tmp/granted)" = "setenv p_granted $p_job/$challenge/$p_target" ] && return 0
    done
    return 1
}
