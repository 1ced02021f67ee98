"""`PruningSummaries`: the contents of its files."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PruningSummaries,
    UpdatePruningStep,
    prune_low_magnitude,
)
from tests.tfmot.networks import STEPS, compiled, fit, schedule, sequential


def written(folder):
    """Return {tag: {step: value}} of the scalars in the files of a folder."""
    import tensorflow as tf

    found = {}
    for path in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tf.make_ndarray(value.tensor))
                    found.setdefault(value.tag, {})[event.step] = number
    return found


def test_sparsity_and_threshold_of_each_kernel(tmp_path):
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule()), "adam")
    before = model.get_weights()
    callbacks = [UpdatePruningStep(), PruningSummaries(tmp_path)]
    fit(model, epochs=2, callbacks=callbacks)
    found = written(tmp_path / "metrics")
    paths = [v.path for v in model.trainable_variables if v.name == "kernel"]
    assert set(found) == {f"{path}/{what}" for path in paths for what in ("sparsity", "threshold")}
    for path, first, kernel in zip(paths, before[::2], model.get_weights()[::2], strict=True):
        sparsities, thresholds = found[f"{path}/sparsity"], found[f"{path}/threshold"]
        assert sparsities == {0: 0.25, STEPS: 0.75, 2 * STEPS: 0.75}
        # A quarter of the weights are below the first threshold; the last is of the weights now.
        assert np.mean(np.abs(first) < thresholds[0]) == 0.25
        assert thresholds[2 * STEPS] == pytest.approx(np.abs(kernel[kernel != 0]).min())


@pytest.mark.filterwarnings("ignore:The `PruningOptimizer` pruned nothing")
def test_it_is_a_tensorboard_callback_too(tmp_path):
    layer = prune_low_magnitude(keras.layers.Dense(4), ConstantSparsity(0.5, 1000))
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile("sgd", "mse", metrics=["mae"])
    # Before `UpdatePruningStep`, which makes the masks of such a model.
    summaries = PruningSummaries(str(tmp_path), update_freq=4, write_steps_per_second=True)
    x, y = np.ones((4 * STEPS, 8), "float32"), np.ones((4 * STEPS, 4), "float32")
    with pytest.warns(UserWarning, match="pruned nothing"):
        model.fit(
            x,
            y,
            batch_size=4,
            verbose=0,
            validation_data=(x, y),
            callbacks=[summaries, UpdatePruningStep()],
        )
    assert {"epoch_loss", "epoch_learning_rate", "batch_mae"} <= set(written(tmp_path / "train"))
    assert "epoch_mae" in written(tmp_path / "validation")
    found = written(tmp_path / "metrics")
    assert [set(values.values()) for values in found.values()] == [{0.0}, {0.0}]


def test_custom_loops_are_written_by_their_steps(tmp_path):
    model = prune_low_magnitude(sequential(4), ConstantSparsity(0.5, 2, frequency=2))
    step, summaries = UpdatePruningStep(), PruningSummaries(tmp_path)
    step.set_model(model)
    summaries.set_model(model)
    step.on_train_begin()
    for epoch in range(2):
        summaries.on_epoch_begin(epoch=epoch)
        for batch in range(3):
            step.on_train_batch_begin(batch=batch)
        step.on_epoch_end(batch=epoch)
    summaries.on_epoch_begin(epoch=2)
    values = written(tmp_path / "metrics")[f"{model.trainable_variables[0].path}/sparsity"]
    assert values == {3: 0.5, 6: 0.5}


def test_a_model_that_is_not_pruned_has_none(tmp_path):
    fit(compiled(sequential(4)), callbacks=[PruningSummaries(tmp_path)])
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize("log_dir", ["", None, 3])
def test_the_folder_must_be_a_path(log_dir):
    with pytest.raises(ValueError, match=rf"log_dir={log_dir!r}"):
        PruningSummaries(log_dir)


def test_it_says_what_is_missing(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name)
    )
    with pytest.raises(ImportError, match="pip install tensorflow"):
        PruningSummaries(tmp_path)
