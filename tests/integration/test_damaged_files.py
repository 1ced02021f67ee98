"""Damaged files of many kinds give one error or the same content, and take little memory."""

import warnings

import pytest
from damaged_files import Intact, damaged_basis, damaged_sparse, main, outcome


@pytest.fixture(scope="module")
def intact():
    return Intact()


def check(rows, kinds):
    assert {row["damage"] for row in rows} >= kinds
    for row in rows:
        # Forged files may say something else in a valid way, and load as they say.
        allowed = {"refused", "same"} | ({"other"} if row["damage"].startswith("forged") else set())
        assert row["result"] in allowed, row
        assert row["MiB"] < 50, row
        assert row["seconds"] < 20, row
    assert sum(row["result"] == "refused" for row in rows) > len(rows) / 2


BASIS = {"bits", "cut", "forged arrays", "forged headers", "forged objects"}
SPARSE = {"bits", "cut", "forged bits", "forged claims", "forged configuration", "forged header"}


@pytest.mark.backend_free
def test_bases(intact, tmp_path):
    rows = []
    for seed in range(300):
        kind, content = damaged_basis(intact, seed)
        (tmp_path / "file").write_bytes(content)
        rows.append({"damage": kind, **outcome(intact.load_basis, tmp_path / "file")})
    check(rows, BASIS)


def test_sparse_files(intact, tmp_path):
    rows = []
    with warnings.catch_warnings():
        # Keras warns about odd configurations, and the archive about two members of one name.
        warnings.simplefilter("ignore")
        for seed in range(100):
            kind, content = damaged_sparse(intact, seed)
            (tmp_path / "file").write_bytes(content)
            rows.append({"damage": kind, **outcome(intact.load_sparse, tmp_path / "file")})
    check(rows, SPARSE)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kinds"), [("basis", BASIS), ("sparse", SPARSE)])
def test_many(form, kinds):
    with warnings.catch_warnings():
        check(main({"format": form, "first": 10**6, "count": 1000}), kinds)
