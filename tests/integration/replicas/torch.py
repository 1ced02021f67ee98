"""`DistributedDataParallel` on two gloo processes; a script. Writes what each process holds."""

import os
import pathlib
import sys

import numpy as np
import torch

from tests.integration.replicas import model as common


def train(rank: int, folder: str, criterion: str, order: str) -> None:
    """Train on every second half batch, as the process `rank`.

    With the order `"optimizer first"` the optimizer is built for weights of the process's own,
    before `DistributedDataParallel` replaces them by those of the first process.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model, loss = common.model(), common.loss()
    optimizer = common.optimizer(criterion)
    if order == "optimizer first":
        if rank:
            generator = np.random.default_rng(100 + rank)
            model.set_weights([generator.normal(0.0, 0.2, w.shape) for w in model.get_weights()])
        optimizer.build(model.trainable_variables)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer.build(model.trainable_variables)
    x, y = common.data()
    half = common.BATCH // 2
    for step in range(common.STEPS):
        begin = step * common.BATCH + rank * half
        logits = parallel(torch.from_numpy(x[begin : begin + half]))
        model.zero_grad()
        loss(y[begin : begin + half], logits).backward()
        gradients = [v.value.grad for v in model.trainable_variables]
        with torch.no_grad():
            optimizer.apply(gradients, model.trainable_variables)
    masks = common.masks_of(optimizer)
    np.savez(f"{folder}/{rank}.npz", **common.named(f"replica{rank}", masks, model.get_weights()))
    torch.distributed.barrier()
    # No teardown: torch 2.13 takes the process group down with the interpreter locked, while a
    # thread of gloo that it waits for may want that lock. The processes then hang for ever.
    os._exit(0)


if __name__ == "__main__":
    path, criterion, *order = sys.argv[1:]
    folder = str(pathlib.Path(path).parent)
    torch.multiprocessing.spawn(
        train, args=(folder, criterion, *(order or ["model first"])), nprocs=2
    )
    results = common.alone(criterion)
    for rank in range(2):
        with np.load(f"{folder}/{rank}.npz") as loaded:
            results |= dict(loaded)
    np.savez(path, **results)
