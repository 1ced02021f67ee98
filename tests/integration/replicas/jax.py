"""`keras.distribution.DataParallel` on two host devices; a script. Writes what each holds."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

from tests.integration.replicas import model as common

if __name__ == "__main__":
    path, criterion = sys.argv[1:]
    results = common.alone(criterion)
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    model = common.fitted(common.model(), common.optimizer(criterion))
    results |= common.per_replica(
        model, lambda v: [shard.data for shard in v.value.addressable_shards]
    )
    np.savez(path, **results)
