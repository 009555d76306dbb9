# Chunk {{number}}, whose SHA-256 is {{sha256}} and whose entries in the table of pieces start at {{pieces}}.
p_partition={{partition}} p_offset={{offset}} p_sectors={{sectors}} p_encoding={{encoding}} p_size={{size}} p_file={{name}} p_lba={{image}}
run p_chunk
