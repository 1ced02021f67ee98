"""What docs/design.md says that tfmot does, in NumPy: tells which side is wrong when two differ."""

import numpy as np

F32 = np.float32


def emulate(case, raw):
    """Masks of a layer from its weights alone, for blocks that divide the kernel.

    Args:
        case: a `Case`.
        raw: `(steps + 1, ...)`, its kernel as the optimizer left it after each step.

    Returns:
        The masks `(steps + 2, ...)`, and the smallest distance between the largest magnitude that
        was pruned and the smallest that was kept. Step 1 does not count: there the weights are
        still equal to the last bit, on every backend.
    """
    masks, gap = [np.ones(raw.shape[1:], bool)], np.inf
    epoch = case.steps // case.epochs
    for step in range(1, case.steps + 2):
        weights = raw[step - 1]
        if 1 < step <= case.steps and (step - 1) % epoch == 0:
            # `UpdatePruningStep` has masked them at the end of the epoch.
            weights = weights * masks[-1]
        due, sparsity = (step == 1, None) if case.n_m else _schedule(case.schedule, step)
        if not due:
            masks.append(masks[-1])
        elif case.n_m:
            masks.append(_n_m(weights, *case.n_m))
        else:
            scores, spread = _pool(np.abs(weights), case.block)
            mask, distance = _largest(scores, sparsity)
            masks.append(spread(mask))
            gap = min(gap, distance) if step > 1 else gap
    return np.stack(masks), gap


def _schedule(schedule, step):
    kind, config = schedule
    begin, end = config["begin_step"], config["end_step"]
    due = begin <= step and (step <= end or end < 0) and (step - begin) % config["frequency"] == 0
    if kind == "ConstantSparsity":
        return due, F32(config["target_sparsity"])
    first, last = config["initial_sparsity"], config["final_sparsity"]
    rest = F32(1) - np.clip(F32(step - begin) / F32(end - begin), F32(0), F32(1))
    return due, F32(first - last) * rest ** F32(config["power"]) + F32(last)


def _largest(scores, sparsity):
    kept = max(int(np.rint(F32(scores.size) * (F32(1) - sparsity))), 1)
    ranked = np.sort(scores, axis=None)[::-1]
    gap = ranked[kept - 1] - ranked[kept] if kept < scores.size else np.inf
    return scores >= ranked[kept - 1], gap


def _pool(scores, block):
    if block is None:
        return scores, lambda mask: mask
    (height, width), pooling = block
    rows, columns = scores.shape
    blocks = scores.reshape(rows // height, height, columns // width, width)
    pooled = {"AVG": np.mean, "MAX": np.max}[pooling](blocks, axis=(1, 3))
    return pooled, lambda mask: np.kron(mask, np.ones((height, width), bool))


def _n_m(weights, zeros, group):
    last = np.moveaxis(np.abs(weights), -2, -1)
    inputs = last.shape[-1]
    padded = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, -inputs % group)])
    groups = padded.reshape(-1, group)
    stay = np.argsort(-groups, axis=1, kind="stable")[:, : group - zeros]
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, stay, True, axis=1)
    return np.moveaxis(mask.reshape(padded.shape)[..., :inputs], -1, -2)
