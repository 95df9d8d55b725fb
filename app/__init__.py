"""What clients talk to (api, gateway) and what every process shares (domain, wire, store)."""

__version__ = "0.1.0"
