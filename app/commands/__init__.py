"""What each command of `moments` does; `app/cli.py` only reads its options."""
