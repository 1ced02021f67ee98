"""Layers that a process finds only if it is told where: nothing registers them."""

import keras


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs
