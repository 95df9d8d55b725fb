"""The HTTP/1.1 client that sends webhooks."""
