# One image for every role: `docker run IMAGE api`, `gateway`, `worker`, and `up` for all at once.
#
# The base is named by its tag, so that a build gets its fixes. To build the same again, name it by
# digest: `docker buildx imagetools inspect python:3.11-slim-bookworm` tells it.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/moments
WORKDIR /src
# First what changes seldom: this layer is built again only when the lock has changed.
COPY requirements-runtime.lock ./
RUN /opt/moments/bin/pip install --require-hashes --no-deps -r requirements-runtime.lock
COPY pyproject.toml README.md ./
COPY app ./app
# The client that the pages use: app/console/static links to it.
COPY clients/js/moments.js ./clients/js/moments.js
COPY workers ./workers
# What has installed everything is of no use to a process that runs, and of some to an intruder.
RUN /opt/moments/bin/pip install --no-build-isolation --no-deps . \
    && /opt/moments/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
# Without a home; /data is for `moments up` only, the roles write nothing.
RUN groupadd --system --gid 10001 moments \
    && useradd --system --uid 10001 --gid moments --no-create-home --home-dir /nonexistent moments \
    && install --directory --owner moments --group moments --mode 0700 /data
COPY --from=build /opt/moments /opt/moments
ENV PATH=/opt/moments/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MOMENTS_HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
# The api, and the gateway's websockets. A worker has a port only with MOMENTS_OPS_PORT.
EXPOSE 8000 8001
ENTRYPOINT ["moments"]
CMD ["--help"]
