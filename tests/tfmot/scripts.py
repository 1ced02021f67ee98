"""Scripts in the style of the guides of tfmot, which run under tfmot and under keras_sac.

Besides `tfmot` and `keras` it finds `np`, the arrays `x` and `y`, `given(name)` (an initializer
with the weights of that name), `gradients(model, x, y)` and `log_dir`. It leaves `result`.
"""

COMMON = """
def compiled(model):
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def base_model():
    return keras.Sequential([
        keras.layers.InputLayer((12,)),
        keras.layers.Dense(16, activation="relu", kernel_initializer=given("first")),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(8, kernel_initializer=given("last"), name="last"),
    ])


def trained(model, **kwargs):
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0, callbacks=callbacks, **kwargs)
    return tfmot.sparsity.keras.strip_pruning(model).get_weights()


polynomial = tfmot.sparsity.keras.PolynomialDecay(
    initial_sparsity=0.3, final_sparsity=0.8, begin_step=0, end_step=24, frequency=4
)
"""

WHOLE_MODEL = """
pruning_params = {"pruning_schedule": polynomial}
model_for_pruning = tfmot.sparsity.keras.prune_low_magnitude(base_model(), **pruning_params)
compiled(model_for_pruning)
callbacks = [
    tfmot.sparsity.keras.UpdatePruningStep(),
    tfmot.sparsity.keras.PruningSummaries(log_dir=log_dir),
]
model_for_pruning.fit(
    x, y, batch_size=8, epochs=4, validation_data=(x, y), shuffle=False, verbose=0,
    callbacks=callbacks,
)
model_for_pruning.evaluate(x, y, verbose=0)
model_for_export = tfmot.sparsity.keras.strip_pruning(model_for_pruning)
result = model_for_export.get_weights()
"""

SOME_LAYERS = """
prune = tfmot.sparsity.keras.prune_low_magnitude
sparser = tfmot.sparsity.keras.ConstantSparsity(0.75, begin_step=6, end_step=30, frequency=5)
model = keras.Sequential([
    prune(
        keras.layers.Dense(16, activation="relu", kernel_initializer=given("first")),
        pruning_schedule=polynomial,
        input_shape=(12,),
    ),
    prune(keras.layers.Flatten(), pruning_schedule=polynomial),
    keras.layers.Dense(12, activation="relu", kernel_initializer=given("middle")),
    prune(keras.layers.Dense(8, kernel_initializer=given("end")), sparser),
])
result = trained(compiled(model))
"""

CLONE_FUNCTION = """
def apply_pruning_to_dense(layer):
    if isinstance(layer, keras.layers.Dense) and layer.name != "last":
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=polynomial)
    return layer

result = trained(compiled(keras.models.clone_model(
    base_model(), clone_function=apply_pruning_to_dense
)))
"""

LIST_OF_LAYERS = """
layers = tfmot.sparsity.keras.prune_low_magnitude(
    [
        keras.layers.Dense(16, activation="relu", kernel_initializer=given("first")),
        keras.layers.Dropout(0.0),
        keras.layers.Dense(8, kernel_initializer=given("last")),
    ],
    pruning_schedule=polynomial,
)
inputs = keras.Input((12,))
outputs = inputs
for layer in layers:
    outputs = layer(outputs)
result = trained(compiled(keras.Model(inputs, outputs)))
"""

BLOCKS_AND_POLICY = """
class NotTheLast(tfmot.sparsity.keras.PruningPolicy):
    def allow_pruning(self, layer):
        return layer.name != "last"

    def ensure_model_supports_pruning(self, model):
        pass

result = trained(compiled(tfmot.sparsity.keras.prune_low_magnitude(
    base_model(),
    pruning_schedule=polynomial,
    block_size=(2, 4),
    block_pooling_type="MAX",
    pruning_policy=NotTheLast(),
)))
"""

CUSTOM_LAYER = """
class DenseWithSparseBias(keras.layers.Dense, tfmot.sparsity.keras.PrunableLayer):
    def get_prunable_weights(self):
        return [self.kernel, self.bias]

model = keras.Sequential([
    keras.layers.InputLayer((12,)),
    DenseWithSparseBias(
        16, activation="relu", kernel_initializer=given("first"), bias_initializer=given("bias")
    ),
    keras.layers.Dense(8, kernel_initializer=given("last")),
])
result = trained(compiled(
    tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=polynomial)
))
"""

CUSTOM_SCHEDULE = """
class TwoLevels(tfmot.sparsity.keras.PruningSchedule):
    def __init__(self, sparsity, begin_step, end_step, frequency):
        self.sparsity = sparsity
        self.begin_step = begin_step
        self.end_step = end_step
        self.frequency = frequency
        self._validate_step(begin_step, end_step, frequency, True)
        self._validate_sparsity(sparsity, "sparsity")

    def __call__(self, step):
        due = self._should_prune_in_step(step, self.begin_step, self.end_step, self.frequency)
        return due, self.sparsity

    def get_config(self):
        return {"class_name": "TwoLevels", "config": {
            "sparsity": self.sparsity, "begin_step": self.begin_step,
            "end_step": self.end_step, "frequency": self.frequency,
        }}

result = trained(compiled(tfmot.sparsity.keras.prune_low_magnitude(
    base_model(), pruning_schedule=TwoLevels(0.6, 3, 30, 5)
)))
"""

N_OF_M = """
once = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, end_step=1)
result = trained(compiled(tfmot.sparsity.keras.prune_low_magnitude(
    base_model(), pruning_schedule=once, sparsity_m_by_n=(2, 4)
)))
"""

CUSTOM_LOOP = """
unused_arg = -1
model_for_pruning = tfmot.sparsity.keras.prune_low_magnitude(
    base_model(), pruning_schedule=polynomial
)
optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
model_for_pruning.optimizer = optimizer
step_callback = tfmot.sparsity.keras.UpdatePruningStep()
step_callback.set_model(model_for_pruning)
log_callback = tfmot.sparsity.keras.PruningSummaries(log_dir=log_dir)
log_callback.set_model(model_for_pruning)

step_callback.on_train_begin()
for _ in range(4):
    log_callback.on_epoch_begin(epoch=unused_arg)
    for first in range(0, len(x), 8):
        step_callback.on_train_batch_begin(batch=unused_arg)
        grads = gradients(model_for_pruning, x[first : first + 8], y[first : first + 8])
        optimizer.apply_gradients(zip(grads, model_for_pruning.trainable_variables))
    step_callback.on_epoch_end(batch=unused_arg)
result = tfmot.sparsity.keras.strip_pruning(model_for_pruning).get_weights()
"""

EVERY_EPOCH = """
class Record(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        for layer in self.model.layers:
            layer = getattr(layer, "layer", layer)  # inside tfmot's wrapper
            result.extend(layer.get_weights()[:1] if hasattr(layer, "kernel") else [])
        result.append(np.array(logs["val_loss"]))


# Refreshed when an epoch begins: at steps 1, 9, 17 and 25. Due again at 33, which is not reached.
result = []
model = compiled(tfmot.sparsity.keras.prune_low_magnitude(
    base_model(), tfmot.sparsity.keras.PolynomialDecay(0.2, 0.8, 1, 41, frequency=8)
))
callbacks = [tfmot.sparsity.keras.UpdatePruningStep(), Record()]
model.fit(
    x, y, batch_size=8, epochs=4, shuffle=False, verbose=0, callbacks=callbacks,
    validation_data=(x, y),
)
result.extend(tfmot.sparsity.keras.strip_pruning(model).get_weights())
"""

STOPPED_EARLY = """
class Stop(keras.callbacks.Callback):
    def __init__(self, last):
        super().__init__()
        self.last = last

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == self.last


result = []
for last in (0, 1, 2, 5):
    model = compiled(tfmot.sparsity.keras.prune_low_magnitude(
        base_model(), tfmot.sparsity.keras.PolynomialDecay(0.2, 0.6, 1, 4, frequency=1)
    ))
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep(), Stop(last)]
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks)
    result.extend(tfmot.sparsity.keras.strip_pruning(model).get_weights())
model = compiled(tfmot.sparsity.keras.prune_low_magnitude(base_model(), polynomial))
# The loss falls, so this stops after the second epoch.
stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=1)
callbacks = [tfmot.sparsity.keras.UpdatePruningStep(), stop]
model.fit(x, y, batch_size=8, epochs=5, shuffle=False, verbose=0, callbacks=callbacks)
result.extend(tfmot.sparsity.keras.strip_pruning(model).get_weights())
"""

XNNPACK = """
layers = keras.layers
policy = tfmot.sparsity.keras.PruneForLatencyOnXNNPack()

def is_accepted(*inside, padding=1, kernel=3, strides=2, mode="valid", channels=3, end=None):
    inputs = keras.Input((16, 16, channels))
    outputs = layers.ZeroPadding2D(padding)(inputs)
    outputs = layers.Conv2D(8, kernel, strides=strides, padding=mode)(outputs)
    for layer in inside:
        outputs = layer(outputs)
    end = end or layers.GlobalAveragePooling2D()
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(end(outputs))))
    try:
        policy.ensure_model_supports_pruning(model)
    except ValueError:
        return False
    return True

result = [np.array([
    is_accepted(),
    is_accepted(padding=2),
    is_accepted(kernel=5),
    is_accepted(strides=1),
    is_accepted(mode="same"),
    is_accepted(channels=4),
    is_accepted(end=layers.GlobalMaxPooling2D()),
    is_accepted(layers.Conv2D(8, 1)),
    is_accepted(layers.Conv2D(8, 1, strides=2)),
    is_accepted(layers.Conv2D(8, 3)),
    is_accepted(layers.DepthwiseConv2D(3, padding="same")),
    is_accepted(layers.DepthwiseConv2D(5, padding="same")),
    is_accepted(layers.DepthwiseConv2D(3)),
    is_accepted(layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, strides=2)),
    is_accepted(layers.ZeroPadding2D(2), layers.DepthwiseConv2D(5)),
    is_accepted(layers.ZeroPadding2D(1), layers.DepthwiseConv2D(5)),
    is_accepted(layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")),
    is_accepted(layers.BatchNormalization(), layers.ReLU(6.0)),
    is_accepted(layers.BatchNormalization(axis=1)),
    is_accepted(layers.UpSampling2D()),
    is_accepted(layers.UpSampling2D(interpolation="bilinear")),
    is_accepted(layers.Activation("sigmoid"), layers.ELU(), layers.Dropout(0.1)),
    is_accepted(layers.Activation("gelu")),
    is_accepted(layers.MaxPooling2D()),
    is_accepted(layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1)),
    is_accepted(keras.Sequential([layers.Conv2D(8, 1), layers.Conv2D(4, 1)])),
    is_accepted(layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 3, padding="same")),
])]
"""

SCRIPTS = {
    "whole-model": WHOLE_MODEL,
    "some-layers": SOME_LAYERS,
    "clone-function": CLONE_FUNCTION,
    "list-of-layers": LIST_OF_LAYERS,
    "blocks-and-policy": BLOCKS_AND_POLICY,
    "custom-layer": CUSTOM_LAYER,
    "custom-schedule": CUSTOM_SCHEDULE,
    "n-of-m": N_OF_M,
    "custom-loop": CUSTOM_LOOP,
    "every-epoch": EVERY_EPOCH,
    "stopped-early": STOPPED_EARLY,
    "xnnpack": XNNPACK,
}
