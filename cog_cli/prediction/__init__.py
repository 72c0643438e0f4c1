"""One prediction, or a server, from words on the command line to output in files."""
