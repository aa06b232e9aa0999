"""Shows who waited, who streamed and when, without touching the code.

``Timeline`` records every model call of a ``with`` block, ``Heartbeat``
the gaps of the event loop. ``record`` measures, ``draw`` makes pictures.
"""

from workshop.observe.record import Call, Gap, Heartbeat, Timeline

__all__ = ["Call", "Gap", "Heartbeat", "Timeline"]
