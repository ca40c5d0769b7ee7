"""The Beam jobs, one file a stage, in the order in which data flows: catalogue, survey, text, plan, score, build,
manifest, report. `media` fetches and cuts clips without Beam; `run_folder`, `stores` and `workers` are what the stages
stand on; `catalogues` and `demo` make input; `doctor` says what a machine can do."""

import logging

# Beam says when it is imported that clients are missing which nothing here uses.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
