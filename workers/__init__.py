"""What moves posts: fan-out, sending, retrying, cleaning up."""
