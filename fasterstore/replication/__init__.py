"""Two nodes with the same objects: what changed, what wins, what is still to be sent. Pure: no sockets, no clock."""
