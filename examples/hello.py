"""One producer, one worker, in one program. Start a server first: ``flashq serve``."""

from flashq import FlashQ


def produce(queue: FlashQ) -> None:
    """Push a job for each name; the last one cannot work out."""
    for name in ("Ada", "Grace", ""):
        queue.push("greetings", {"name": name}, max_attempts=2, backoff=100)


def work(queue: FlashQ) -> None:
    """Run jobs until none has come for half a second."""
    while job := queue.pull("greetings", timeout=500):
        if name := job.data["name"]:
            print(f"Hello, {name}!")
            queue.ack(job)
        else:
            queue.fail(job, "nobody to greet")  # comes again after 100 ms, then rests with the dead letters


with FlashQ() as queue:  # 127.0.0.1:6789, or what FLASHQ_URL says
    produce(queue)
    work(queue)
    print("dead letters:", [letter.progress_msg for letter in queue.dead_letters("greetings")])
