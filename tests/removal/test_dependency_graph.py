"""The graph of dependent units: what is removed is exactly what nothing reads any more."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from small_graphs import EXACT, NORMALIZED, inputs

from keras_sac._model import Copies, layer_paths
from keras_sac.removal._channel_labels import sparing
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._layer_rules import rule_of
from keras_sac.removal._smaller_model import smaller_model


def removable(graph, fraction=0.5, seed=1):
    """Return some of the units that can go, not all of any layer."""
    roots = np.unique(graph.roots(np.arange(graph.units.count)))
    roots = roots[roots > 0]
    chosen = np.random.default_rng(seed).permutation(roots)[: round(fraction * len(roots))]
    return sparing(chosen, [np.unique(graph.roots(numbers)) for _, numbers in graph.made])


def unread(model, graph, removed):
    """Return a copy of a model in which all weights that read some units are zero."""
    copy, paths = Copies().of(model), {id(v): k for k, v in layer_paths(model).items()}
    places = layer_paths(copy)
    for weight in graph.weights.values():
        rule = rule_of(weight.layer)
        if not rule.makes_units:
            continue
        index = [id(each) for each in weight.layer.weights].index(id(weight.variable))
        variable = places[paths[id(weight.layer)]].weights[index]
        axes = next(axes for each, axes in rule.weights(weight.layer) if each is weight.variable)
        value = np.array(ops.convert_to_numpy(variable))
        for axis, units in weight.axes.items():
            if not axes[axis].made:
                value[(slice(None),) * axis + (np.isin(graph.roots(units), removed),)] = 0.0
        variable.assign(value)
    return copy


def outputs(model, x):
    return [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]


@pytest.mark.parametrize("build", EXACT)
def test_smaller_model_is_the_model_in_which_nothing_reads_what_is_gone(build):
    keras.utils.set_random_seed(0)
    model = build()
    for weight in model.weights:  # biases and statistics are zeros and ones otherwise
        drawn = np.random.default_rng(weight.shape[0]).uniform(0.5, 1.5, weight.shape)
        if len(weight.shape) == 1:
            weight.assign(drawn)
    x = inputs(model)
    graph = DependencyGraph(model, keras.tree.flatten(x))
    removed = removable(graph)
    assert len(removed)
    small = smaller_model(model, graph, removed)
    assert small.count_params() < 0.8 * model.count_params()
    for new, old in zip(outputs(small, x), outputs(unread(model, graph, removed), x), strict=True):
        assert new.shape == old.shape
        np.testing.assert_allclose(new, old, atol=1e-5 * np.abs(old).max())
        assert np.ptp(old) > 0


@pytest.mark.parametrize("build", NORMALIZED)
def test_normalizations_over_channels_become_narrower(build):
    model = build()
    x = inputs(model)
    graph = DependencyGraph(model, keras.tree.flatten(x))
    small = smaller_model(model, graph, removable(graph))
    assert small.count_params() < 0.8 * model.count_params()
    (made,) = outputs(small, x)
    assert made.shape == (3, 5)
    assert np.isfinite(made).all()


@pytest.mark.parametrize("build", [*EXACT, *NORMALIZED])
def test_nothing_removed_is_the_same_model(build):
    model = build()
    x = inputs(model)
    graph = DependencyGraph(model, keras.tree.flatten(x))
    small = smaller_model(model, graph, np.zeros(0, int))
    for new, old in zip(outputs(small, x), outputs(model, x), strict=True):
        np.testing.assert_array_equal(new, old)
    assert [w.path for w in small.weights] == [w.path for w in model.weights]


def stays(build_rest, reason):
    """Check that the units of a convolution stay, and why."""
    i = keras.Input((6, 6, 3))
    x = L.Conv2D(8, 3, padding="same", name="conv")(i)
    model = keras.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(build_rest(x))))
    graph = DependencyGraph(model, [inputs(model)])
    layer, numbers = graph.made[0]
    assert layer.name == "conv"
    assert not graph.roots(numbers).any()
    assert reason in graph.reason(numbers)


def test_units_that_cannot_be_followed_stay_and_are_named():
    stays(lambda x: L.Dense(4)(x[..., :5]), "'get_item' has sizes")
    stays(lambda x: ops.add(*(L.Dense(4)(y) for y in ops.split(x, 2, -1))), "'split' has sizes")
    stays(lambda x: L.TimeDistributed(L.Conv1D(4, 1), name="steps")(x), "'steps': the class")
    stays(lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))), "mixes them")
    stays(lambda x: ops.softmax(x) * 2.0, "mixes them")
    stays(lambda x: L.Dense(4)(ops.mean(x, axis=-1, keepdims=True) + x), "mixes them")
    stays(lambda x: x + np.ones((1, 6, 6, 8), "float32"), "has sizes")

    class Scale(L.Layer):
        def build(self, shape):
            self.scale = self.add_weight((shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

    stays(lambda x: L.Conv2D(4, 1)(Scale(name="mine")(x)), "the class Scale is not known")
    stays(lambda x: L.Conv2D(4, 1)(L.UnitNormalization(name="unit")(x)), "'unit' mixes them")


def test_layers_with_one_weight_stay():
    first, second = L.Dense(6, name="a"), L.Dense(6, name="b")
    first.build((None, 6))
    second.build((None, 6))
    second._tracker.unlock()  # as a model that ties its weights by hand does
    second._kernel = first._kernel
    i = keras.Input((6,))
    model = keras.Model(i, L.Dense(2)(second(L.ReLU()(first(i)))))
    graph = DependencyGraph(model, [inputs(model)])
    assert "belongs to another layer" in graph.unknown[id(first)]
    assert "belongs to another layer" in graph.unknown[id(second)]


def test_a_narrow_branch_beside_a_wide_one():
    """Trials of what an operation survives leave something of each of its inputs."""
    for width in range(1, 4):
        i = keras.Input((6,))
        branches = [L.Dense(width, name="narrow")(i), L.Dense(9, name="wide")(i)]
        model = keras.Model(i, L.Dense(2)(L.ReLU()(L.Concatenate()(branches))))
        graph = DependencyGraph(model, [inputs(model)])
        free = {layer.name: int((graph.roots(units) > 0).sum()) for layer, units in graph.made}
        assert free["narrow"] == width
        assert free["wide"] == 9
