"""Products without TF32: the settings of the backend, nested and in threads."""

import threading

import keras
import numpy as np

from keras_sac._run import in_full_precision


def setting():
    match keras.backend.backend():
        case "torch":
            import torch

            return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        case "jax":
            import jax

            return jax.config.jax_default_matmul_precision
        case _:
            import tensorflow as tf

            return tf.config.experimental.tensor_float_32_execution_enabled()


EXACT = {"torch": (False, False), "jax": "highest", "tensorflow": False}[keras.backend.backend()]


def test_the_setting_is_put_back_after_nesting_and_errors():
    before = setting()
    assert before != EXACT
    try:
        with in_full_precision():
            with in_full_precision():
                assert setting() == EXACT
            assert setting() == EXACT
            raise KeyError
    except KeyError:
        assert setting() == before


def test_threads_leave_the_setting_as_it_was():
    before, inside = setting(), []
    gate = threading.Barrier(4)

    def work():
        gate.wait()
        for _ in range(20):
            with in_full_precision():
                inside.append(setting())
                keras.ops.matmul(np.ones((8, 8), "float32"), np.ones((8, 8), "float32"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert inside == [EXACT] * 80
    assert setting() == before
