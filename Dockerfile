# What Dataflow's workers run: Beam's own image of its SDK, and in it this project with what a mining worker needs.
#
#     python3.11 -m pip wheel --no-deps --wheel-dir dist .
#     docker build --build-arg YAMNET=models/yamnet.tflite --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/openmulan .
#
# `make test-image` runs its install lines in a fresh environment; the image itself was not built by this project's tests.

ARG BEAM_VERSION=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM_VERSION}

# For sentences that are judged on the workers (--lf_model) `mine,litert,gcs,lf`: that has torch, 5 GB.
ARG EXTRAS=mine,litert,gcs
# The music detector, a file below this folder; the launcher names it by the path that it has in the image.
ARG YAMNET

COPY constraints.txt dist/openmulan-*.whl /tmp/openmulan/
RUN python -m pip install --no-cache-dir -c /tmp/openmulan/constraints.txt "$(ls /tmp/openmulan/*.whl)[${EXTRAS}]"
COPY ${YAMNET} /models/yamnet.tflite
RUN python -c "from filters.music.load import load_detector; print(load_detector('/models/yamnet.tflite').digest)"
