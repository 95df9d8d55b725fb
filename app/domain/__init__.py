"""Rules without I/O: no clock, no randomness, no sockets; both are arguments."""
