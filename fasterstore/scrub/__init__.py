"""Reading everything that is stored, again and again, at a bounded rate: what a round reads, its pace, what it finds."""
