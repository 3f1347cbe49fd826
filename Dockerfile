# The node in a slim image, not as root. Build: docker build -t fasterstore:latest .
# Run:   docker run --rm -p 9000:9000 -v fasterstore-data:/data -e FS_ACCESS_KEY=... -e FS_SECRET_KEY=... fasterstore:latest
#
# Without keys of its own the node answers signed requests from inside the container only: set FS_ACCESS_KEY and FS_SECRET_KEY, or
# FS_SECRET_KEY_FILE for a mounted secret. Every FS_* variable with its default and meaning is in .env.example; the image changes
# FS_DATA_DIR, FS_BIND_ADDR and FS_MAX_REQUEST_BYTES as below. A folder mounted at /data must be writable for user 10001.

FROM python:3.11-slim AS build
COPY requirements.txt /build/requirements.txt
# The tests' runner stays out of the image.
RUN python -m venv /venv \
    && grep -v '^pytest==' /build/requirements.txt > /build/node.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /build/node.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin fasterstore \
    && install -d -m 700 -o fasterstore /data
COPY --from=build /venv /venv
COPY fasterstore /app/fasterstore
COPY actors /app/actors
COPY web /app/web
COPY tools /app/tools
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FS_DATA_DIR=/data \
    FS_BIND_ADDR=0.0.0.0:9000 \
    FS_MAX_REQUEST_BYTES=5368709120
USER fasterstore
VOLUME /data
EXPOSE 9000
STOPSIGNAL SIGTERM
# Alive, not ready: a node that replays its journal or is read-only must not be restarted for it.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["python", "-m", "fasterstore", "health", "--alive"]
CMD ["python", "-m", "fasterstore", "serve"]
