"""`SparsityLogger`: logs, history, warnings and the plot."""

import keras
import matplotlib.image
import numpy as np
import pytest

from keras_sac import (
    ConstantSparsity,
    PolynomialDecay,
    ProximalL1,
    PruningOptimizer,
    SparsityLogger,
)
from keras_sac.pruning import plot_sparsity
from tests.pruning.problem import fitted

SCHEDULE = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=70, frequency=5)


def test_epochs_and_steps():
    logger = SparsityLogger(frequency=10)
    history = keras.callbacks.History()
    built = fitted(PruningOptimizer("sgd", SCHEDULE), epochs=2, callbacks=[logger, history])
    table = logger.history
    assert sorted(table["step"].unique()) == [10, 20, 30, 40, 50, 60, 70, 80]
    assert set(table["path"]) == set(built.optimizer.masks)
    first = table[table["path"].str.contains("first")].set_index("step")["sparsity"]
    for step in (10, 20, 40, 60):
        # The newest refresh is that of the step after, or of a multiple of five before.
        asked = float(SCHEDULE((step + 1) // 5 * 5)[1])
        assert first[step] == pytest.approx(asked, abs=0.003)
    assert history.history["sparsity"] == pytest.approx([float(SCHEDULE(40)[1]), 0.8], abs=0.01)


def test_with_a_loss_scale_around():
    logger = SparsityLogger()
    optimizer = PruningOptimizer("sgd", ConstantSparsity(0.5, 1))
    fitted(keras.optimizers.LossScaleOptimizer(optimizer), callbacks=[logger])
    assert logger.history["sparsity"].tolist() == [0.5, 0.5]


def test_inside_another_optimizer():
    logger = SparsityLogger()
    optimizer = ProximalL1(PruningOptimizer("sgd", ConstantSparsity(0.5, 1)), 1e-4)
    fitted(optimizer, callbacks=[logger])
    assert logger.history["sparsity"].tolist() == [0.5, 0.5]


def test_the_logger_itself_can_be_plotted():
    logger = SparsityLogger(frequency=5)
    fitted(PruningOptimizer("sgd", SCHEDULE), epochs=2, callbacks=[logger])
    lines = [line.get_xydata() for line in plot_sparsity(logger, SCHEDULE).get_lines()]
    expected = [line.get_xydata() for line in plot_sparsity(logger.history, SCHEDULE).get_lines()]
    for mine, theirs in zip(lines, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_training_that_is_too_short():
    logger = SparsityLogger()
    with pytest.warns(UserWarning, match="after 40 updates.*ends at step 70"):
        fitted(PruningOptimizer("sgd", SCHEDULE), callbacks=[logger])


def test_another_optimizer():
    with pytest.raises(ValueError, match=r"Received: optimizer=.*SGD"):
        fitted("sgd", callbacks=[SparsityLogger()])
    with pytest.raises(ValueError, match="frequency"):
        SparsityLogger(frequency=0)


def test_the_plot_shows_the_schedule_and_each_kernel(tmp_path):
    logger = SparsityLogger(frequency=5)
    fitted(PruningOptimizer("sgd", SCHEDULE), epochs=2, callbacks=[logger])
    ax = plot_sparsity(logger.history, SCHEDULE)
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels[-2:] == ["all pruned kernels", "schedule"]
    assert len(labels) == 4
    steps, achieved = ax.get_lines()[-2].get_data()
    assert achieved[-1] == pytest.approx(0.8, abs=0.01)
    assert steps[-1] == 80
    asked = ax.get_lines()[-1].get_ydata()
    assert np.all(np.diff(asked) >= -1e-6)
    ax.figure.savefig(tmp_path / "plot.png")
    assert matplotlib.image.imread(tmp_path / "plot.png").std() > 0.01


def test_nothing_to_plot():
    with pytest.raises(ValueError, match="no rows"):
        plot_sparsity(SparsityLogger().history)
