# Two stages: build the wheels with a compiler at hand, run them without one.
#   docker build -t twinwrite .
#   docker run --read-only --tmpfs /tmp -v twinwrite:/data -v ./twinwrite.toml:/etc/twinwrite.toml:ro \
#     -p 127.0.0.1:8080:8080 twinwrite
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rules rules
COPY proxy proxy
RUN python -m venv /opt/twinwrite \
 && /opt/twinwrite/bin/pip install --no-cache-dir --disable-pip-version-check '.[encryption]'

FROM python:3.13-slim
LABEL org.opencontainers.image.title="twinwrite" \
      org.opencontainers.image.description="Dual-write HTTP sidecar proxy" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin twinwrite \
 && install --directory --owner twinwrite --group twinwrite --mode 0700 /data
COPY --from=build /opt/twinwrite /opt/twinwrite
# Nothing is written outside /data: the root file system may be read-only.
ENV PATH=/opt/twinwrite/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TWINWRITE_CONFIG=/etc/twinwrite.toml \
    TWINWRITE_JOURNAL_DIRECTORY=/data \
    TWINWRITE_LISTEN_HOST=0.0.0.0
USER 10001
VOLUME /data
EXPOSE 8080
# The admin port stays on loopback, so the check runs inside. A sick secondary does not fail it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
  CMD ["twinwrite", "status", "--healthy"]
# Exec form: twinwrite is PID 1 and gets the signals itself; SIGTERM drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["twinwrite"]
CMD ["run"]
