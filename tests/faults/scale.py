"""How many times what `make test-faults` does is done: `make test-faults-long` sets FAULT_SCALE=10."""

import os

FAULT_SCALE = int(os.environ.get("FAULT_SCALE", "1"))
