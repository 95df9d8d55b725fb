"""The process that holds sockets: reads what is pushed to it, writes frames, takes acks."""
