"""Tasks, enqueued and awaited. Start a server and a worker first, or both at once: ``flashq dev hello:app``."""

from flashq import App, Context, JobFailed, Reject

app = App(default_queue="greetings")  # on this machine, or on the server that FLASHQ_URL names


@app.task(max_attempts=3, backoff=100)
def greet(job: Context, name: str) -> str:
    """Greet somebody, if not at the first attempt."""
    if not name:
        raise Reject("nobody to greet")  # no attempt can change that
    if job.attempt == 1:
        raise ConnectionError("nobody listens")  # comes again after 100 ms
    return f"Hello, {name}, in attempt {job.attempt}!"


if __name__ == "__main__":
    with app:  # closes its connection at the end
        for job in greet.map(["Ada", "Grace", ""]):
            try:
                print(job.result(timeout=10_000))  # ms
            except JobFailed as failed:
                print(f"job {failed.id} rests with the dead letters: {failed}")
