# The network. Every wait is bounded: without a network or a server the target boots what it has.
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
    setenv ncip ${netconsole}
    run l_send_console
fi

