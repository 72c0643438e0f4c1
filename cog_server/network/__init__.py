"""Ways out of the server, and which addresses they may lead to."""
