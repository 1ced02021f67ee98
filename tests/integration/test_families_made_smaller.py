"""Full rank and no zeros reproduce the models that people use; real levels run on them."""

import pytest
from bench_families import Options, measure, passes

pytestmark = pytest.mark.slow

# Larger ones take minutes each: `benchmarks/bench_families.py` runs all families.
APPLICATIONS = ("MobileNetV2",)
OF_KERAS_HUB = ("BERT", "GPT-2", "ViT")


@pytest.mark.parametrize("family", ["subclassed transformer", *APPLICATIONS, *OF_KERAS_HUB])
def test_a_family(family):
    if family in OF_KERAS_HUB:
        pytest.importorskip("keras_hub")
    found = measure(family, Options())
    assert passes(found), found
