"""Events: appended in the transaction of the state move they tell of, so that neither exists without the other."""

from rushes.events.outbox import append, append_each

__all__ = ["append", "append_each"]
