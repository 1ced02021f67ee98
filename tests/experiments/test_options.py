"""Command-line options: parsing, defaults of the data set, checks."""

from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import tyro

from harness import ExperimentError
from harness.options import Options, Setup
from harness.rows import Recipe

pytestmark = pytest.mark.backend_free


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
        (["--epochs", "0"], "--epochs must be at least 1. Received: 0"),
        (["--batch-size", "-1"], "--batch-size must be at least 1. Received: -1"),
        (["--limit", "1"], "--limit must be at least 2. Received: 1"),
        (["--learning-rate", "0"], "--learning-rate must be a positive number. Received: 0"),
        (["--learning-rate", "nan"], "--learning-rate must .* Received: nan"),
        (["--momentum", "1"], "--momentum must .* Received: 1"),
        (["--validation-fraction", "0"], "--validation-fraction must .* Received: 0"),
        (["--seeds", "4", "4"], "--seeds must be different integers .* Received: 4 4"),
        (["--seeds", "-4"], "Received: -4"),
        (["--seeds", str(2**32)], "--seeds must .* Received: 4294967296"),
    ],
)
def test_invalid_values_are_refused(arguments, message):
    with pytest.raises(ExperimentError, match=message):
        parse(*arguments).check()


def test_the_recorded_command_has_no_path_of_the_machine():
    options = parse("--data-dir", "/secret/place", "--output-dir", "/other", "--seeds", "1", "2")
    assert options.command("cifar_sac") == (
        "python experiments/cifar_sac.py --data-dir FOLDER --seeds 1 2"
    )
    assert parse().command("cifar_sac") == "python experiments/cifar_sac.py"


def test_the_folder_of_the_results():
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
    steps = [adam.steps(SimpleNamespace(x_train=range(samples))) for samples in (16, 17)]
    assert steps == [2, 3]
    with pytest.raises(ExperimentError, match="--momentum needs SGD. .* optimizer is adam"):
        parse("--optimizer", "adam", "--momentum", "0.5").recipe(sgd)


def test_settings_are_the_options_given_and_else_the_defaults_of_the_data_set():
    setup = Setup(Recipe(15, 256, 0.01), {"padding": "same", "limit": 7}, verbose=0)
    settings = setup.settings(parse("--epochs", "3"))
    assert (settings.padding, settings.limit, settings.verbose) == ("same", 7, 0)
    assert settings.recipe == Recipe(3, 256, 0.01)
    settings = setup.settings(parse("--limit", "9", "--verbose", "2"))
    assert (settings.limit, settings.verbose, settings.seeds) == (9, 2, (42, 43, 44))
