# Chunk {{number}}, whose SHA-256 is {{sha256}} and whose entries in the table of pieces start at {{pieces}}.
p_p={{partition}} p_o={{offset}} p_s={{sectors}} p_e={{encoding}} p_z={{size}} p_f={{name}} p_l={{image}}
run p_chunk
