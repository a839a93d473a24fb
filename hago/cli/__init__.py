"""The command line: one file a verb. Nothing here imports TVM before a verb that needs it runs."""

import os

# Before numpy is imported: its products here are many and small, and threads of BLAS would wait
# for each other most of the time (rounding ResNet-50's weights took four times as long on two
# cores as on one). hago's own threads use the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
