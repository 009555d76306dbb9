p_n={{number}} p_p={{partition}} p_o={{offset}} p_s={{sectors}} p_h={{sha256}} p_e={{encoding}} p_z={{size}} p_f={{name}} p_i={{pieces}} p_l={{image}}
run p_chunk
