"""One thin module per command: flags in, one call, one line out."""
