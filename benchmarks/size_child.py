"""Writes a SavedModel, which only TensorFlow can, in a process of its own; for `bench_size.py`."""

import json
import sys
from typing import Any

import keras


def main() -> None:
    """Export the model at `model` to the folder `folder`."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    model = keras.saving.load_model(options["model"], compile=False)
    model.export(options["folder"], format="tf_saved_model", verbose=False)
    print("RESULT " + json.dumps(keras.config.backend()))


if __name__ == "__main__":
    main()
