"""A receiver of webhooks: takes requests on real sockets, checks signatures, answers as told.

For trying things out and for tests: what a well-made receiver does, in the small, and what badly
made ones do, of which `catalogue` has a list.
"""

from app.receiver.behaviour import Behaviour, Turn
from app.receiver.plan import Plan
from app.receiver.received import Received, Tally
from app.receiver.server import Receiver

__all__ = ["Behaviour", "Plan", "Received", "Receiver", "Tally", "Turn"]
