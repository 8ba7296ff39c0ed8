"""Registers an app's schedules with the server when a worker starts.

By name, so that a hundred workers make one schedule of it, and a changed one replaces the old. A schedule that is gone
from the app stays on the server until it is deleted there (``flashq cron delete``): a worker cannot know whether it
belongs to another app, or to the next release.
"""

import logging

from msgspec import Raw

from flashq.client import AsyncFlashQ
from flashq.errors import Forbidden
from flashq.tasks import App

log = logging.getLogger("flashq.worker")


async def register(app: App, client: AsyncFlashQ) -> int:
    """Set all schedules; gives how many.

    Raises:
        BadRequest: the server cannot read a schedule or its time zone.
        FlashQError: what else the server or the connection says.
    """
    for entry in app.crons.values():
        options = entry.job.options
        try:
            await client.set_cron(
                entry.name,
                options.queue,
                entry.schedule,
                Raw(entry.data),
                priority=options.priority,
                timezone=entry.timezone,
                timeout=options.timeout,
                ttl=options.ttl,
                backoff=options.backoff,
                max_attempts=options.max_attempts,
                unique_key=options.unique_key,
                tags=options.tags,
            )
        except Forbidden as error:
            log.warning("schedules are not registered, this worker may not: %s", error)
            return 0
    return len(app.crons)
