"""The environment of a measurement, as values for JSON."""

import json
import os

import keras

from keras_sac.analysis import environment


def test_it_names_backend_device_threads_and_versions():
    described = environment()
    assert described["backend"] == keras.backend.backend()
    assert described["versions"]["keras"] == keras.__version__
    assert keras.backend.backend() in described["versions"]
    assert described["device"]
    assert 1 <= described["threads"] <= os.cpu_count()


def test_it_fits_into_json():
    assert json.loads(json.dumps(environment())) == environment()
