"""The demo: the whole service at work for a minute, and what it says held against what came."""
