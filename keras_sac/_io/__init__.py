"""Ground floor: write files whole or not at all, and store arrays without pickle.

| question | file |
| --- | --- |
| How is a file or folder written so that a failure leaves the old one? | `_whole_file.py` |
| Where is a new file written, and what does a killed process leave? | `_hidden_folder.py` |
| How are named arrays stored and read? | `_npz.py` |
| How is a damaged archive found? | `_zip_reader.py` |
"""

from keras_sac._io._npz import read_npz, write_npz
from keras_sac._io._whole_file import check_free, check_room, written
from keras_sac._io._zip_reader import (
    InvalidFileError,
    check_members,
    invalid_if_it_fails,
    safe_name,
)
