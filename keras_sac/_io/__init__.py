"""Ground floor: write files whole or not at all, and read them without pickle."""

from keras_sac._io._npz import read_npz, write_npz
from keras_sac._io._whole_file import check_free, written
