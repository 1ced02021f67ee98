"""The choice among the variables of an optimizer, and the reason for what is left out."""

import keras
import numpy as np
import pytest

from keras_sac._model import Selection, report_rows
from tests.model.models import choose, ends, mixed

L = keras.layers


@pytest.fixture
def model():
    return mixed()


def test_what_is_skipped_has_its_reason(model):
    _, skipped = choose(model.trainable_variables, "conv")
    reasons = {"/".join(path.split("/")[-2:]): reason for path, reason in skipped.items()}
    assert reasons["last/kernel"] == "not among the targets"
    assert "depthwise" in reasons["dw/kernel"]
    assert "bias" in reasons["conv/bias"]


def test_the_first_that_picks_a_variable_counts(model):
    selections = [Selection("first"), Selection("kernel"), Selection("last|bias|dw/kernel")]
    with pytest.raises(ValueError, match=r"match nothing.*'last\|bias\|dw/kernel'"):
        choose(model.trainable_variables, selections)
    chosen, _ = choose(model.trainable_variables, selections[:2])
    assert [selection for _, selection in chosen] == [selections[i] for i in (1, 0, 1)]


@pytest.mark.parametrize("target", ["nothing_has_this_name", lambda v: False, "bias$", "dw"])
def test_a_target_that_matches_nothing_is_refused(model, target):
    for targets in (target, ["conv", Selection(target)]):
        with pytest.raises(ValueError, match=r"match nothing that can be pruned.*conv/kernel"):
            choose(model.trainable_variables, targets)


def test_a_variable_of_another_model_matches_nothing(model):
    other = L.Dense(2)
    other.build((None, 3))
    for target in (other, other.kernel):
        with pytest.raises(ValueError, match="match nothing"):
            choose(model.trainable_variables, target)


@pytest.mark.parametrize("targets", [None, "packed", lambda v: True])
def test_packed_weights_and_adapters_are_not_changed(targets):
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(8, name="packed"), L.Dense(4, name="plain")]
    )
    model.layers[0].quantize("int8")
    with pytest.raises(ValueError, match=r"must not be pruned.*packed/kernel: .*before `quantize`"):
        choose(model.weights, targets, [model])
    chosen, _ = choose(model.weights, "plain", [model])
    assert [kernel.path.split("/")[-2] for kernel, _ in chosen] == ["plain"]
    model.layers[1].enable_lora(2)
    with pytest.raises(ValueError, match=r"plain/kernel: .*save and load the model"):
        choose(model.weights, "plain", [model])


def test_a_model_without_kernels_is_refused():
    layer = L.BatchNormalization()
    layer.build((None, 4))
    with pytest.raises(ValueError, match=r"Nothing can be pruned.*gamma"):
        choose(layer.trainable_variables, None)


def test_rows_say_what_is_chosen_and_why_not(model):
    chosen, skipped = choose(model.trainable_variables, "conv|last")
    details = {id(kernel.variable): {"how": "by hand"} for kernel, _ in chosen}
    model.get_layer("last").kernel.assign(np.eye(8, 3))
    listed = report_rows(model.trainable_variables, skipped, details, purpose="painted")
    table = {ends([row["path"]])[0]: row for row in listed}
    assert len(listed) == len(model.trainable_variables)
    assert [row["painted"] for row in listed].count(True) == 2
    assert table["last/kernel"] == {
        "path": model.get_layer("last").kernel.path,
        "shape": (8, 3),
        "weights": 24,
        "painted": True,
        "reason": "",
        "how": "by hand",
        "sparsity": 0.875,
    }
    assert table["first/kernel"]["reason"] == "not among the targets"
    assert table["first/kernel"]["how"] == ""
    assert list(table["first/kernel"]) == list(table["last/kernel"])
