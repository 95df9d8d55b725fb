"""Chaos: real processes are killed, stopped and cut off while posts go in, and an observer outside
holds what was accepted against what came.

    python -m scripts.chaos --help
"""
