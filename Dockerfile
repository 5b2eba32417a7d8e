# The image of auditor, for its worker, beat and every command. docs/operations.md says how to build and run it.
# To pin the base by digest: --build-arg PYTHON_IMAGE=python@sha256:…
# To install from your own mirror: --secret id=pip,src=pip.conf. pip reads the file, and no layer contains it.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# DEVICE is cpu, or cuda for NVIDIA's GPUs. pip's usual index has torch's CUDA build for x86-64. The CPU build is at
# PyTorch's own index of CPU wheels, which TORCH_INDEX names. The build fails if it gets the other kind of torch.
ARG DEVICE=cpu
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv /opt/auditor
ENV PATH=/opt/auditor/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# torch is the largest package and rarely changes, so it has its own layer. Its dependencies come from the usual index.
# hadolint ignore=DL3013 # constraints.txt pins all versions
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    if [ -n "$TORCH_INDEX" ]; then pip install --no-deps --index-url "$TORCH_INDEX" torch torchvision; fi
COPY pyproject.toml README.md LICENSE ./
COPY auditor auditor
COPY workers workers
COPY migrations migrations
# hadolint ignore=DL3013
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install hatchling \
    && pip install --no-build-isolation '.[zoos,hub,onnx,evidence,mlflow,service,telemetry]' \
    && pip check
RUN python -c "import sys, torch; found = 'cuda' if torch.version.cuda else 'cpu'; found == '$DEVICE' or sys.exit(f'this is the {found} build of torch, but DEVICE is $DEVICE: see docs/operations.md, Build')"

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --create-home auditor \
    && install -d -o auditor -g auditor /data /models /checkpoints /boosted
COPY --from=build /opt/auditor /opt/auditor
ENV PATH=/opt/auditor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AUDITOR_DATA=/data \
    AUDITOR_ROBUSTBENCH_MODELS=/models \
    AUDITOR_CHECKPOINTS=/boosted \
    HF_HOME=/checkpoints/huggingface \
    TORCH_HOME=/checkpoints/torch
USER 10001:10001
WORKDIR /home/auditor
# The healthcheck asks the database whether a process of this container's worker is alive. It is for the worker only.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["auditor", "workers", "--alive", "60"]
ENTRYPOINT ["auditor"]
CMD ["worker"]
