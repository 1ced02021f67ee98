"""`MirroredStrategy` on two logical CPU devices; a script. Writes masks and weights of each."""

import sys

import numpy as np
import tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)

from tests.integration.replicas import model as common  # noqa: E402

if __name__ == "__main__":
    path, criterion = sys.argv[1:]
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = common.fitted(common.model(), common.optimizer(criterion))
    results = common.per_replica(model, lambda v: v.value.values) | common.alone(criterion)
    np.savez(path, **results)
