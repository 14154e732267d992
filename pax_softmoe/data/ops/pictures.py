"""Pictures as a viewer shows them, in files that TensorFlow reads the same way.

TensorFlow reads JPEGs in grey or colour, and PNGs of 8 bits in grey or colour,
exactly as viewers do. Other files it refuses, or reads as something else: it
knows no orientation (EXIF), shows what transparency hides, and takes some
palettes for pixels. `normalise` leaves the former as they are, byte for byte,
and writes the latter anew, as Pillow reads them:

  * turned and mirrored as their orientation says
  * what is transparent is white, as on a page
  * of several frames or pages the first
  * 16 bits cut to 8, palettes and CMYK as colours, 1 bit as black and white

JPEGs stay JPEGs, of quality 98 with colours of full resolution; all others
become PNGs, which lose nothing. Colour profiles and gamma are not applied.
"""

import dataclasses
import io
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

FORMATS = 'PNG, JPEG, GIF, BMP, TIFF or WebP'

_FORMATS = ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP')
_SIGNATURES = (
    b'\xff\xd8\xff',
    b'\x89PNG\r\n\x1a\n',
    b'GIF8',
    b'BM',
    b'II*\0',
    b'MM\0*',
    b'RIFF',
)
# Beside those that Pillow names by itself.
_OTHERS = {
    b'ftyphei': 'HEIC',
    b'ftyphev': 'HEIC',
    b'ftypmif1': 'HEIC',
    b'ftypmsf1': 'HEIC',
    b'ftypavi': 'AVIF',
}
# What a PNG says its orientation by. Pillow reads all of the file to tell.
_ORIENTED = (b'eXIf', b'Raw profile type', b'tiff:Orientation')
_ORIENTATION = 0x0112
_COLOURS_OF_PNG = {
    3: 'of a palette',
    4: 'with transparency',
    6: 'with transparency',
}

# Up to twice this size they are read, and larger ones are an error.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A file that TensorFlow reads as a viewer does.

  Attributes:
    data: its bytes, PNG or JPEG.
    size: (height, width) in pixels.
    rewritten: why it is not the original file; '' if it is.
  """

  data: bytes
  size: tuple[int, int]
  rewritten: str


def is_picture(start: bytes) -> bool:
  """Returns whether a file that starts so has one of `FORMATS`."""
  return start.startswith(_SIGNATURES)


def normalise(encoded: bytes, rewrite: str = '') -> Picture:
  """Returns a picture in a file that TensorFlow reads as a viewer does.

  Plain files are not decoded: damage in their pixels is not noticed.

  Args:
    encoded: the bytes of a file.
    rewrite: a reason to rewrite a plain file too; then all of it is read.

  Raises:
    ValueError: it is no picture, damaged, or of pixels without a meaning.
  """
  if not encoded:
    raise ValueError('the file is empty; copy it again')
  if not is_picture(encoded):
    raise ValueError(
        f'no {FORMATS} file{_but(encoded)}; convert it to PNG or JPEG'
    )
  try:
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
      rewrite = _why(image, encoded) or rewrite
      if not rewrite:
        return Picture(encoded, (image.height, image.width), '')
      kind = 'JPEG' if image.format in ('JPEG', 'MPO') else 'PNG'
      image.load()
      turned = ImageOps.exif_transpose(image)
      return _written(_plain(turned), kind, rewrite)
  except Image.DecompressionBombError:
    raise ValueError(
        f'it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make'
        ' it smaller'
    ) from None
  except _Unclear:
    raise
  except Exception as error:  # Its class depends on format and damage.
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    # A name of the object in memory helps nobody.
    reason = reason.partition(' <_io.')[0]
    raise ValueError(
        f'the file is damaged ({reason}); copy it again'
    ) from error


class _Unclear(ValueError):
  """A picture is whole, but does not say what to show."""


def _but(encoded: bytes) -> str:
  """Returns ' but HEIC', or what else a file is; '' if unknown."""
  for signature, name in _OTHERS.items():
    if encoded[4:].startswith(signature):
      return f' but {name}'
  try:
    with Image.open(io.BytesIO(encoded)) as image:
      return f' but {image.format}'
  except Exception:  # As above.
    return ''


def _why(image: Image.Image, encoded: bytes) -> str:
  """Returns why a picture must be written anew; '' if it need not."""
  kind = image.format
  if _orientation(image, encoded) != 1:
    return 'turned by their EXIF orientation'
  if kind == 'MPO':  # A JPEG, whose other frames are depths or previews.
    kind = 'JPEG'
  elif getattr(image, 'n_frames', 1) > 1:
    return 'of which the first of several frames or pages was taken'
  if kind == 'JPEG':
    return '' if image.mode in ('L', 'RGB') else f'of {image.mode} colours'
  if kind != 'PNG':
    return f'which were {kind}'
  # Of the header: bits of a channel, and what the channels are.
  bits, colours = encoded[24], encoded[25]
  if bits == 16:
    return 'of 16 bits'
  if colours in _COLOURS_OF_PNG:
    return _COLOURS_OF_PNG[colours]
  if image.has_transparency_data:
    return 'with transparency'
  return '' if bits == 8 else 'of fewer than 8 bits'


def _orientation(image: Image.Image, encoded: bytes) -> int:
  """Returns the number that EXIF has for an orientation; 1 is upright."""
  if image.format == 'PNG' and not any(mark in encoded for mark in _ORIENTED):
    return 1
  try:
    value = image.getexif().get(_ORIENTATION, 1)
  except Exception:  # Damaged EXIF turns nothing; of any class.
    return 1
  return value if value in range(2, 9) else 1


def _plain(image: Image.Image) -> Image.Image:
  """Returns a picture in mode L or RGB, on white."""
  if image.mode.startswith('I;16'):
    hidden = image.info.get('transparency')
    values = np.asarray(image)
    pixels = (values >> 8).astype(np.uint8)
    if hidden is not None:
      pixels[values == hidden] = 255
    return Image.fromarray(pixels)
  if image.mode in ('I', 'F'):
    raise _Unclear(
        'its pixels are numbers of 32 bits, of which none is said to be white;'
        ' save it with 8 or 16 bits'
    )
  if image.has_transparency_data:
    grey = image.mode in ('1', 'L', 'LA', 'La')
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
    return image.convert('L' if grey else 'RGB')
  return image.convert('L' if image.mode in ('1', 'L') else 'RGB')


def _written(image: Image.Image, kind: str, rewritten: str) -> Picture:
  stream = io.BytesIO()
  # Neither EXIF nor what else the original says of itself is kept.
  image.info = {}
  image.save(stream, kind, **_QUALITY[kind])
  return Picture(stream.getvalue(), (image.height, image.width), rewritten)


_QUALITY = {'JPEG': {'quality': 98, 'subsampling': 0}, 'PNG': {}}
