# Built by `make image`. PIP_* of the builder's environment name the package index for the build; the image has none of it.
FROM python:3.12-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /src
RUN python -m venv /opt/akidb
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN /opt/akidb/bin/pip install --no-cache-dir --constraint constraints.txt '.[postgres]'
RUN AKIDB_MODELS_DIR=/opt/akidb/models /opt/akidb/bin/akidb model pull all-minilm-l6-v2

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /data akidb \
    && install --directory --owner akidb --mode 0700 /data
COPY --from=build /opt/akidb /opt/akidb
ENV PATH=/opt/akidb/bin:$PATH AKIDB_URL=/data/akidb AKIDB_MODELS_DIR=/opt/akidb/models
USER 10001
VOLUME /data
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["akidb", "ready"]
ENTRYPOINT ["akidb"]
CMD ["serve"]
