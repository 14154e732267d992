"""Prints a digest of every array of a checkpoint, weights and moments.

python array_digests.py CHECKPOINT
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
from pax_softmoe import compat
import tensorstore


def main(checkpoint: pathlib.Path) -> None:
  found = {}
  for folder in sorted((checkpoint / 'state').iterdir()):
    if (folder / '.zarray').exists():
      kvstore = {'driver': 'file', 'path': str(folder)}
      spec = compat.complete_reads({'driver': 'zarr', 'kvstore': kvstore})
      array = np.asarray(tensorstore.open(spec).result().read().result())
      content = f'{array.dtype} {array.shape}'.encode() + array.tobytes()
      found[folder.name] = hashlib.sha256(content).hexdigest()
  print(json.dumps(found))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))
