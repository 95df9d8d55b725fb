"""Random and mutated frames against the gateway: the real one, from handshake to hub, with nothing
but its store and the kernel's connections left out, so that a million frames take minutes.
"""
