"""The process that holds sockets."""
