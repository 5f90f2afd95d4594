"""Events: appended in the transaction of the state move they tell of, so that neither exists without the other; and read
again, in an order in which nothing is lost, by whoever may see them."""

from rushes.events.feed import Batch, Cursor, Feed, Reach, Subscription
from rushes.events.outbox import append, append_each, append_job

__all__ = ["Batch", "Cursor", "Feed", "Reach", "Subscription", "append", "append_each", "append_job"]
