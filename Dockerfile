# The server in a container: built from this checkout, run by a user without rights.
#
#     docker build --tag flashq .
#     docker run --publish 127.0.0.1:6789:6789 --volume flashq-data:/data flashq
#
# docs/deployment.md tells the rest.

FROM python:3.13-slim AS build

WORKDIR /src
RUN python -m venv /opt/flashq
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/flashq/bin/pip install --no-cache-dir --disable-pip-version-check '.[server,cli,postgres]'

FROM python:3.13-slim

RUN groupadd --system --gid 10001 flashq \
 && useradd --system --uid 10001 --gid flashq --home-dir /data --no-create-home --shell /usr/sbin/nologin flashq \
 && install --directory --owner=flashq --group=flashq --mode=0700 /data
COPY --from=build /opt/flashq /opt/flashq

# In a container every address is the container's own: who may reach it is decided by what is published.
ENV PATH=/opt/flashq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    DATA_DIR=/data

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 6789 6790

# A server that asks for a token (exit code 3) is alive as well. With TLS FLASHQ_URL=flashqs://NAME must be set.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "flashq ping || test $? = 3"]

# Exec form: the server is process 1 and hears the SIGTERM of `docker stop`.
ENTRYPOINT ["flashq"]
CMD ["serve"]
