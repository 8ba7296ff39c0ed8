"""A web application that answers at once and works later: FastAPI in front, a worker in the same process.

::

    flashq serve                                         # in one terminal
    uvicorn main:api                                     # in another, in this folder
    curl -X POST 'http://localhost:8000/reports?topic=bees'
    curl 'http://localhost:8000/reports/1'

When it grows, ``worker=True`` goes, and ``flashq worker main:app`` runs beside it; nothing else changes.
"""

import asyncio

from fastapi import FastAPI, HTTPException

import flashq
from flashq.contrib.starlette import lifespan

app = flashq.App(default_queue="reports")


@app.task(max_attempts=5)
async def write(topic: str) -> str:
    """A report, which takes a while."""
    await asyncio.sleep(0.1)
    return f"All about {topic}"


api = FastAPI(lifespan=lifespan(app, worker=True, concurrency=20))


@api.post("/reports", status_code=202)
async def order(topic: str) -> dict[str, int]:
    """Order a report; the answer says where it will be."""
    job = await write.adelay(topic)
    return {"id": job.id}


@api.get("/reports/{id}")
async def fetch(id: int, wait_ms: int = 0) -> dict[str, str]:
    """A report, or how far it is; ``wait_ms``: how long to wait for it."""
    job = write.job(id)
    try:
        return {"state": "completed", "report": await job.aresult(timeout=wait_ms)}
    except flashq.CallTimeout:
        return {"state": await job.astate()}
    except flashq.JobLost:
        raise HTTPException(404, "no such report") from None
    except flashq.JobFailed as error:
        raise HTTPException(502, str(error)) from None
