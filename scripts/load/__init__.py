"""The load test: friend circles, open-loop arrivals, receivers and sockets, and a report.

    python scripts/load_test.py --help

What makes and takes the load runs in processes of its own (`poster`, `receivers`, `sockets`), which
the script drives by orders on their pipes (`orders`). Everybody's times are of the system's
monotonic clock, which all processes share.
"""
