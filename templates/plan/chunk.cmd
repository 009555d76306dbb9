p_number={{number}} p_partition={{partition}} p_offset={{offset}} p_sectors={{sectors}} p_sha256={{sha256}} p_encoding={{encoding}} p_size={{size}} p_file={{name}} p_entries={{pieces}} p_lba={{image}}
run p_chunk
