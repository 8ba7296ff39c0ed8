"""Every bound of the protocol, each with the reason for its value.

A limit that is not written down here does not exist; a limit that cannot be given a reason should not.
"""

from typing import Final

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""One line. Room for a full batch of ordinary jobs (10,000 of 1.6 kB); more would let one client hold the loop."""

MAX_JOB_BYTES: Final = 1024 * 1024
"""A job's ``data`` as sent. A queue carries the order to do something; bulk data belongs in a store."""

MAX_RESULT_BYTES: Final = 256 * 1024
"""A job's result. Results of 5,000 jobs stay in memory: 1.25 GiB in the worst case, 64 MiB by the byte bound."""

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Payloads in one answer: a PULLB, PULLANY, DLQ or LISTJOBS that would hold more holds fewer jobs, so that no client is
sent a line that is longer than it may send itself, and none can make the server build a line of all its memory."""

MAX_BATCH: Final = 10_000
"""Jobs in one PUSHB and ids in one ACKB over lines: about 5 ms of the event loop."""

MAX_LISTED: Final = 1_000
"""Jobs in one LISTJOBS: as many as somebody scrolls through, and about 5 ms of the event loop."""

MAX_DEPTH: Final = 1_000
"""Nesting of JSON. 128 is accepted everywhere; past this a reader with a small stack would fall over."""

MAX_QUEUE_NAME_BYTES: Final = 256
"""A queue's name: it stands in logs, metrics and paths."""

MAX_KEY_CHARS: Final = 256
"""``unique_key``, ``job_id``, one tag, a cron's name, a worker's name: they are indexed."""

MAX_TAGS: Final = 100
MAX_DEPENDS_ON: Final = 10_000
"""Parents of one job: each is an edge that is looked at when the parent ends. A whole batch may have one child."""

MAX_FLOW_EDGES: Final = 100_000
"""Dependencies in one PUSHFLOW or PUSHB, over all its jobs: about 40 MB, and a tenth of a second of the event loop."""

MAX_INPUT_BYTES: Final = 8 * 1024 * 1024
"""Results of its parents that a job collects. They travel with the job: with its payload they fit into one answer."""

MAX_SCHEDULE_CHARS: Final = 256
"""A cron expression: the longest useful one is far shorter, and parsing is work."""

MAX_ERROR_BYTES: Final = 8 * 1024
"""The text of a failure that is kept; more is cut, since the end of a trace repeats its beginning."""

MAX_MESSAGE_BYTES: Final = 1024
"""A progress message; more is cut."""

MAX_ID: Final = 2**53 - 1
"""The largest integer that a JavaScript client can hold exactly."""

MAX_DURATION_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""Ten years: a longer delay, ttl, timeout or backoff is a slip of the unit."""

MAX_PULL_QUEUES: Final = 100
"""Queues in one PULLANY: a pull that waits stands in the line of each of them."""

MAX_WAITS_PER_CONNECTION: Final = 10_000
"""Calls of one connection that wait: a program that awaits the results of a whole batch on its one connection."""

MAX_WAITS: Final = 100_000
"""Calls that wait, over the whole server: each is some hundred bytes and a client that expects an answer."""

MAX_BEAT_WAIT_MS: Final = 10_000
"""How long a BEAT may wait: well below the silence after which a worker is lost, as it is the worker's sign of life."""

MAX_ENDED_ATTEMPTS: Final = 1_000
"""Attempts ended by the server that are kept for a worker's next BEAT; older ones it learns of by its ACK's refusal."""

MAX_PULLS_BEHIND: Final = 128
"""Pulls without ``reqId`` that stand behind one that waits: more than these are answered at once, with an error."""

MAX_QUEUES: Final = 10_000
MAX_CRONS: Final = 1_000
MAX_CRON_BYTES: Final = 16 * 1024 * 1024
"""Payloads of all schedules together: CRONLIST is one answer."""

MAX_WORKER_QUEUES: Final = 100
"""Queues that a worker names: they are kept for WORKERS only."""

MAX_HOLDS: Final = 100_000
"""Attempts that a worker names when it says hello again: as many as fit well into a line."""

MAX_WORKERS: Final = 10_000
"""Things that live until someone deletes them; each costs memory and a line in every listing."""

MAX_SUBSCRIPTIONS: Final = 10_000
"""Wishes for events, over all connections: one for each connection that there may be. An event is offered to all that
asked for its queue, which takes a fraction of a microsecond each."""

MAX_WEBHOOKS: Final = 100
"""Webhooks: each event is compared with all of them."""

MAX_URL_CHARS: Final = 2_048
"""A webhook's URL: what common receivers and proxies accept."""

MAX_CALLS: Final = 10_000
"""Deliveries that are owed to webhooks, over all of them; past it the oldest makes room, and is counted."""

MAX_CALL_BYTES: Final = 64 * 1024 * 1024
"""The bodies of these deliveries together: 6.7 kB each when they are as many as
may be. One tells what its job was pushed with, or returned."""

MAX_FAN_OUT: Final = 10_000
"""Children that wait for one job: all of them move when it ends."""

MAX_HISTORY: Final = 1_000
"""Entries of one job's history, and of operators' actions, in one answer: a few hundred kilobytes. The
newest are told."""

MAX_READINGS: Final = 1_000
"""Questions to storage that wait for their answers: each may keep its thread busy for milliseconds between commits."""
