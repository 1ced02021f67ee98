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
        model = common.model()
        optimizer = common.optimizer(criterion)
        model.compile(optimizer, common.loss())
    x, y = common.data()
    model.fit(x, y, batch_size=common.BATCH, shuffle=False, verbose=0)
    masks = [v for v in optimizer.variables if v.name.endswith("_mask")]
    results = {}
    for replica in range(2):
        for i, mask in enumerate(masks):
            results[f"mask_{replica}_{i}"] = mask.value.values[replica].numpy()
        for i, weight in enumerate(model.trainable_variables):
            results[f"weight_{replica}_{i}"] = weight.value.values[replica].numpy()
    alone_masks, alone_weights = common.trained_alone(criterion)
    results |= {f"alone_mask_{i}": mask for i, mask in enumerate(alone_masks)}
    results |= {f"alone_weight_{i}": weight for i, weight in enumerate(alone_weights)}
    np.savez(path, **results)
