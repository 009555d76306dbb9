# The console goes to the address in ncip too. Boot scripts before number 5 do not have this: a plan brings it along.
setenv l_send_console '
test -n "${stdout}" || setenv stdout serial
test -n "${stderr}" || setenv stderr serial
setenv stdout ${stdout},nc
setenv stderr ${stderr},nc'

