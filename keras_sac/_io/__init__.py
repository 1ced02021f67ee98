"""Ground floor: write files whole or not at all, and store arrays without pickle.

| question | file |
| --- | --- |
| How is a file or folder written so that a failure leaves the old one? | `_whole_file.py` |
| How are named arrays stored and read? | `_npz.py` |
"""

from keras_sac._io._npz import read_npz, write_npz
from keras_sac._io._whole_file import check_free, written
