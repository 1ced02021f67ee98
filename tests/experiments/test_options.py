"""The command line: parsed, completed by the data set's defaults, checked."""

from pathlib import Path

import keras
import pytest
import tyro

from harness.errors import ExperimentError
from harness.options import Options
from harness.plans import Recipe


def parse(*arguments):
    return tyro.cli(Options, args=arguments)


def test_all_options_are_read():
    options = parse(
        *("--dataset", "mnist", "--data-dir", "data", "--epochs", "3", "--seeds", "1", "2"),
        *("--runs", "dense", "pca-8", "--output-dir", "out", "--limit", "100"),
        *("--batch-size", "16", "--learning-rate", "0.5", "--momentum", "0", "--verbose", "2"),
        *("--validation-fraction", "0.25"),
    )
    assert (options.dataset, options.data_dir, options.epochs) == ("mnist", Path("data"), 3)
    assert (options.seeds, options.runs) == ((1, 2), ("dense", "pca-8"))
    assert (options.output_dir, options.limit) == (Path("out"), 100)
    assert options.validation_fraction == 0.25
    assert options.verbose == 2
    recipe = options.recipe(Recipe(epochs=15, batch_size=256, learning_rate=0.01))
    assert recipe == Recipe(epochs=3, batch_size=16, learning_rate=0.5, momentum=0.0)


def test_defaults():
    options = parse()
    assert (options.dataset, options.seeds, options.runs) == ("cifar10", (42, 43, 44), ())
    recipe = Recipe(epochs=15, batch_size=256, learning_rate=0.01)
    assert options.recipe(recipe) == recipe
    options.check()


def test_an_unknown_data_set_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit) as error:
        parse("--dataset", "imagenet")
    assert error.value.code == 2
    assert "cifar10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs is 0: expected at least 1"),
        (["--batch-size", "-1"], "--batch-size is -1"),
        (["--limit", "1"], "--limit is 1: expected at least 2"),
        (["--learning-rate", "0"], "--learning-rate is 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--momentum", "1"], "--momentum is 1"),
        (["--validation-fraction", "0"], "--validation-fraction is 0"),
        (["--seeds", "4", "4"], "--seeds is 4 4: expected different integers"),
        (["--seeds", "-4"], "--seeds is -4"),
        (["--seeds", str(2**32)], "expected below"),
    ],
)
def test_values_that_make_no_sense(arguments, message):
    with pytest.raises(ExperimentError, match=message):
        parse(*arguments).check()


def test_the_recorded_command_has_no_path_of_the_machine():
    options = parse("--data-dir", "/secret/place", "--output-dir", "/other", "--seeds", "1", "2")
    assert options.command("cifar_sac") == (
        "python experiments/cifar_sac.py --data-dir FOLDER --seeds 1 2"
    )
    assert parse().command("cifar_sac") == "python experiments/cifar_sac.py"


def test_where_results_go():
    assert parse("--output-dir", "here").folder("cifar_sac") == Path("here")
    folder = parse("--dataset", "digits").folder("cifar_sac")
    assert folder.parent == Path("results/cifar_sac")
    assert folder.name.startswith("digits-")


def test_the_optimizer_and_its_settings():
    sgd = Recipe(epochs=2, batch_size=8, learning_rate=0.1)
    assert sgd.settings() == {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9}
    adam = parse("--optimizer", "adam").recipe(sgd)
    assert adam.settings()["optimizer"] == "adam"
    assert isinstance(adam.optimizer(), keras.optimizers.Adam)
    assert "momentum" not in adam.settings()
    assert (adam.steps(16), adam.steps(17)) == (2, 3)
    with pytest.raises(ExperimentError, match="optimizer is adam: expected SGD"):
        parse("--optimizer", "adam", "--momentum", "0.5").recipe(sgd)
