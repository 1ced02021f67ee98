"""Places: what a file keeps of a variable, and where it is found again."""

import dataclasses

from keras_sac._model import describe, places_of, restored
from tests.model.models import twins


def test_a_place_is_found_where_variables_have_moved():
    kernels = describe(twins().trainable_variables)
    named = [dataclasses.replace(k, path=f"{k.index}/kernel") for k in kernels if k.index % 2 == 0]
    places = places_of(named)
    moved = [dataclasses.replace(k, index=i + 1) for i, k in enumerate(named)]
    # By the path, exact or without the name of the model in front, whoever stands there now.
    assert restored(places[1:2], moved) == {2}
    model = [dataclasses.replace(k, path=f"net/{k.path}") for k in moved]
    assert restored(places[1:3], model) == {2, 3}
    # By position and shape where the names are others; nowhere else.
    anew = [dataclasses.replace(k, path=f"kernel_{k.index}") for k in named]
    assert restored(places[:2], anew) == {0, 2}
    assert restored([[0, "x", [4, 5]], [99, "y", [4, 4]]], anew) == set()
