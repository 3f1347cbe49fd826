"""Two nodes with the same objects: what they tell each other, and the rules by which both come to the same. No sockets, no clock."""
