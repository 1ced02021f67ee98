"""Read the fields of a `Basis` from a fitted decomposition of scikit-learn."""

from typing import Any

import numpy as np

_EXPECTED = "a fitted `PCA`, `IncrementalPCA` or `TruncatedSVD` of scikit-learn"


def fields_of(estimator: Any) -> dict[str, Any]:
    """Return the fields of the `Basis` whose projections are those of `estimator.transform`.

    Args:
        estimator: fitted estimator. Its attributes decide, so subclasses and estimators of other
            libraries with these attributes will do.

    Raises:
        ValueError: if the estimator is not fitted, or of another kind.
    """
    name = type(estimator).__name__
    components = getattr(estimator, "components_", None)
    if components is None and hasattr(estimator, "n_components"):
        raise ValueError(
            f"`estimator` must be {_EXPECTED}. Received: {name}, which has no `components_`. Call "
            "its `fit(data)` first; for discriminant directions use `bases.lda`."
        )
    ratios = getattr(estimator, "explained_variance_ratio_", None)
    if components is None or ratios is None:
        raise ValueError(
            f"`estimator` must be {_EXPECTED}. Received: {name}. If its `components_` span the "
            "subspace that you want, pass `Basis.from_matrix(estimator.components_.T)`."
        )
    matrix = np.asarray(components, np.float64).T
    variances = np.asarray(estimator.explained_variance_, np.float64)
    known = ratios > 0
    # Each ratio is a variance over the total; the largest one has the smallest error.
    total = float(variances[known][0] / ratios[known][0]) if known.any() else 0.0
    fields = {"kind": "custom", "variances": variances, "total_variance": total}
    mean = getattr(estimator, "mean_", None)
    if mean is not None:
        whiten = bool(getattr(estimator, "whiten", False))
        if whiten:
            matrix = matrix / np.sqrt(variances)
            fields["variances"] = np.ones_like(variances)
        count = getattr(estimator, "n_samples_", getattr(estimator, "n_samples_seen_", None))
        fields |= {
            "kind": "pca_whitened" if whiten else "pca",
            "mean": mean,
            "spectrum": variances,
            "n_samples": None if count is None else int(count),
        }
    return {"matrix": matrix, **fields}
