"""`keras.distribution.DataParallel` on two host devices; a script. Writes what each holds."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

from tests.integration.replicas import model as common

if __name__ == "__main__":
    path, criterion = sys.argv[1:]
    alone_masks, alone_weights = common.trained_alone(criterion)
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    model = common.model()
    optimizer = common.optimizer(criterion)
    model.compile(optimizer, common.loss())
    x, y = common.data()
    model.fit(x, y, batch_size=common.BATCH, shuffle=False, verbose=0)
    masks = [v for v in optimizer.variables if v.name.endswith("_mask")]
    results = {}
    for replica in range(2):
        for i, mask in enumerate(masks):
            results[f"mask_{replica}_{i}"] = mask.value.addressable_shards[replica].data
        for i, weight in enumerate(model.trainable_variables):
            results[f"weight_{replica}_{i}"] = weight.value.addressable_shards[replica].data
    results |= {f"alone_mask_{i}": mask for i, mask in enumerate(alone_masks)}
    results |= {f"alone_weight_{i}": weight for i, weight in enumerate(alone_weights)}
    np.savez(path, **{name: np.asarray(value) for name, value in results.items()})
