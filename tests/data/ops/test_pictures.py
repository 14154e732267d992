"""Pictures of many kinds, judged by hand-known pixels and by Pillow."""

import io
import json
import struct
import zlib

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.ops import pictures
from pax_softmoe.data.read import image_files
from pax_softmoe.tools import main
from PIL import Image
import pytest
import tensorflow as tf

RED, GREEN, BLUE, GREY = (250, 0, 0), (0, 200, 0), (0, 0, 250), (100,) * 3


def save(image, kind, **options):
  stream = io.BytesIO()
  image.save(stream, kind, **options)
  return stream.getvalue()


def corners():
  """Returns 48 x 32 pixels, of another colour in each quarter."""
  pixels = np.zeros([32, 48, 3], np.uint8)
  pixels[:16, :24], pixels[:16, 24:] = RED, GREEN
  pixels[16:, :24], pixels[16:, 24:] = BLUE, GREY
  return Image.fromarray(pixels)


def decoded(encoded, channels=3):
  """Returns what training reads, in a graph as there."""
  ds = tf.data.Dataset.from_tensors(encoded)
  ds = ds.map(lambda e: image_ops.decode(e, channels))
  (image,) = ds.as_numpy_iterator()
  return image


def quarters(image):
  """Returns the middles of the quarters, row by row."""
  h, w = image.shape[:2]
  return [
      image[y, x] for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)
  ]


def assert_quarters(image, *colours):
  np.testing.assert_allclose(np.int32(quarters(image)), colours, atol=3)


# What EXIF calls the places of row 0 and column 0, as its standard has it.
TURNED = {
    1: (RED, GREEN, BLUE, GREY),
    2: (GREEN, RED, GREY, BLUE),
    3: (GREY, BLUE, GREEN, RED),
    4: (BLUE, GREY, RED, GREEN),
    5: (RED, BLUE, GREEN, GREY),
    6: (BLUE, RED, GREY, GREEN),
    7: (GREY, GREEN, BLUE, RED),
    8: (GREEN, GREY, RED, BLUE),
}


def exif_of(orientation, byte_order):
  exif = Image.Exif()
  exif.endian = byte_order
  exif[0x010F] = 'a camera'
  exif[0x0112] = orientation
  return exif


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('orientation', TURNED)
@pytest.mark.parametrize('order', ['<', '>'])
def test_orientation_is_that_of_a_viewer(kind, orientation, order):
  encoded = save(
      corners(),
      kind,
      exif=exif_of(orientation, order),
      **({'quality': 95} if kind == 'JPEG' else {}),
  )
  written = pictures.normalise(encoded)
  for image in (decoded(encoded), decoded(written.data)):
    assert_quarters(image, *TURNED[orientation])
    assert image.shape[:2] == written.size
  # Nothing is left that would turn it again.
  with Image.open(io.BytesIO(written.data)) as image:
    assert image.format == kind
    if orientation > 1:
      assert not image.getexif()
  assert (written.data == encoded) == (orientation == 1)


def palette():
  return corners().quantize(4)


def grey(mode='L'):
  pixels = (np.arange(6 * 7) * 6).reshape(6, 7).astype(np.uint8)
  return Image.fromarray(pixels).convert(mode)


def with_alpha(mode):
  """Returns a picture whose left half is transparent and right half is not."""
  image = (grey() if mode == 'LA' else corners()).convert(mode)
  alpha = np.zeros(image.size[::-1], np.uint8)
  alpha[:, image.width // 2 :] = 255
  image.putalpha(Image.fromarray(alpha))
  return image


PLAIN = {
    'jpeg': save(corners(), 'JPEG', quality=95),
    'progressive jpeg': save(corners(), 'JPEG', quality=95, progressive=True),
    'grey jpeg': save(corners().convert('L'), 'JPEG', quality=95),
    'rgb jpeg': save(corners(), 'JPEG', quality=95, keep_rgb=True),
    'png': save(corners(), 'PNG'),
    'grey png': save(grey(), 'PNG'),
    'png with a profile': save(corners(), 'PNG', icc_profile=b'p' * 200),
    'two pictures of a camera': save(
        corners(), 'MPO', save_all=True, append_images=[corners().rotate(180)]
    ),
}


@pytest.mark.parametrize('name', PLAIN)
@pytest.mark.parametrize('channels', [1, 3])
def test_plain_files_stay_as_they_are(name, channels):
  encoded = PLAIN[name]
  written = pictures.normalise(encoded)
  assert written.data is encoded and not written.rewritten
  with Image.open(io.BytesIO(encoded)) as image:
    want = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
  got = decoded(encoded, channels)
  assert written.size == got.shape[:2]
  # Decoders of JPEG differ by rounding, and at the edges of colours.
  difference = np.abs(np.squeeze(got).astype(int) - want)
  assert difference.mean() < 2 and np.median(difference) <= 1


def white_left(rows):
  rows = np.array(rows)
  rows[:, : rows.shape[1] // 2] = 255
  return rows


def values():
  return np.asarray(grey())


def colours():
  return np.asarray(corners())


def without(colour):
  return np.where((colours() == colour).all(-1, keepdims=True), 255, colours())


SIXTEEN = (np.arange(42).reshape(6, 7) * 1500).astype(np.uint16)
BILEVEL = np.asarray(grey()) > 120
# The bytes, and the pixels they must have.
LOSSLESS = {
    'palette png': (save(palette(), 'PNG'), colours),
    'palette png, transparent': (
        save(palette(), 'PNG', transparency=palette().getpixel((0, 0))),
        lambda: without(RED),
    ),
    '1 bit png': (save(Image.fromarray(BILEVEL), 'PNG'), lambda: 255 * BILEVEL),
    '1 bit bmp': (save(Image.fromarray(BILEVEL), 'BMP'), lambda: 255 * BILEVEL),
    'palette bmp': (save(palette(), 'BMP'), colours),
    'bmp': (save(corners(), 'BMP'), colours),
    'grey bmp': (save(grey(), 'BMP'), values),
    'gif': (save(palette(), 'GIF'), colours),
    'gif of three frames': (
        save(
            palette(),
            'GIF',
            save_all=True,
            append_images=[corners().rotate(180), grey()],
        ),
        colours,
    ),
    '16 bit png': (save(Image.fromarray(SIXTEEN), 'PNG'), lambda: SIXTEEN >> 8),
    '16 bit tiff': (
        save(Image.fromarray(SIXTEEN), 'TIFF'),
        lambda: SIXTEEN >> 8,
    ),
    'tiff': (save(corners(), 'TIFF', compression='tiff_lzw'), colours),
    'turned tiff': (
        save(corners(), 'TIFF', exif=exif_of(3, '<')),
        lambda: colours()[::-1, ::-1],
    ),
    'webp': (save(corners(), 'WEBP', lossless=True), colours),
    'grey and alpha': (
        save(with_alpha('LA'), 'PNG'),
        lambda: white_left(values()),
    ),
    'colour and alpha': (
        save(with_alpha('RGBA'), 'PNG'),
        lambda: white_left(colours()),
    ),
    'a transparent grey': (
        save(grey(), 'PNG', transparency=60),
        lambda: np.where(values() == 60, 255, values()),
    ),
    'a transparent colour': (
        save(corners(), 'PNG', transparency=BLUE),
        lambda: without(BLUE),
    ),
    'lossless with alpha': (
        save(with_alpha('RGBA'), 'WEBP', lossless=True),
        lambda: white_left(colours()),
    ),
}


@pytest.mark.parametrize('name', LOSSLESS)
def test_other_files_become_pngs_without_loss(name):
  encoded, want = LOSSLESS[name]
  want = np.asarray(want(), np.uint8)
  written = pictures.normalise(encoded)
  assert written.data.startswith(b'\x89PNG') and written.rewritten
  image = Image.fromarray(want)
  for data in (encoded, written.data):
    np.testing.assert_array_equal(
        decoded(data, 3), np.asarray(image.convert('RGB'))
    )
    # libpng and Pillow round the same sum in other ways.
    np.testing.assert_allclose(
        np.int32(decoded(data, 1)[..., 0]), image.convert('L'), atol=1
    )


def test_interlaced_png_has_its_pixels():
  # Written by hand, since Pillow writes none: 1 x 1 pixel is one pass.
  def chunk(kind, data):
    whole = kind + data
    return (
        struct.pack('>I', len(data))
        + whole
        + struct.pack('>I', zlib.crc32(whole))
    )

  encoded = (
      b'\x89PNG\r\n\x1a\n'
      + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 2, 0, 0, 1))
      + chunk(b'gAMA', struct.pack('>I', 100_000))
      + chunk(b'IDAT', zlib.compress(b'\0\xc8\x64\x32'))
      + chunk(b'IEND', b'')
  )
  assert decoded(encoded).tolist() == [[[200, 100, 50]]]
  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50
  assert decoded(encoded, 1).tolist() == [[[124]]]


@pytest.mark.parametrize('marker', [True, False])
@pytest.mark.parametrize('channels', [1, 3])
def test_cmyk_jpeg_is_read_with_and_without_its_marker(marker, channels):
  encoded = save(corners().convert('CMYK'), 'JPEG', quality=95)
  assert encoded.count(b'Adobe') == 1
  if not marker:
    start = encoded.index(b'\xff\xee')
    (length,) = struct.unpack('>H', encoded[start + 2 : start + 4])
    encoded = encoded[:start] + encoded[start + 2 + length :]
  with Image.open(io.BytesIO(encoded)) as image:
    assert image.mode == 'CMYK'
    want = image.convert('RGB').convert('L' if channels == 1 else 'RGB')
  written = pictures.normalise(encoded)
  assert written.rewritten == 'of CMYK colours'
  got = quarters(decoded(encoded, channels))
  want = quarters(np.asarray(want).reshape(32, 48, channels))
  np.testing.assert_allclose(np.int32(got), np.int32(want), atol=3)


def cut(encoded, count):
  return encoded[:-count]


UNREADABLE = {
    'nothing': (b'', 'the file is empty'),
    'text': (b'no picture at all', 'no PNG, JPEG, .*; convert it'),
    'JPEG 2000': (save(corners(), 'JPEG2000'), 'file but JPEG2000; convert'),
    'HEIC': (b'\0\0\0\x18ftypheic' + bytes(40), 'file but HEIC; convert'),
    'a cut GIF': (cut(save(corners(), 'GIF'), 60), 'damaged'),
    'a cut TIFF': (cut(save(corners(), 'TIFF'), 4000), 'damaged'),
    'a PNG of a header': (PLAIN['png'][:20], 'damaged'),
    'floats': (
        save(Image.fromarray(np.ones([4, 4], np.float32)), 'TIFF'),
        'save it with 8 or 16 bits',
    ),
}


@pytest.mark.parametrize('name', UNREADABLE)
def test_what_cannot_be_read_is_said_and_decodes_to_nothing(name):
  encoded, message = UNREADABLE[name]
  with pytest.raises(ValueError, match=message) as error:
    pictures.normalise(encoded)
  assert '\n' not in str(error.value)
  with pytest.raises(tf.errors.InvalidArgumentError):
    decoded(encoded)


def test_a_bomb_is_named(monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 700)
  with pytest.raises(ValueError, match='more than 1,400 pixels; make it'):
    pictures.normalise(PLAIN['png'])


@pytest.mark.parametrize('name', ['palette bmp', 'colour and alpha', 'gif'])
def test_prediction_reads_what_training_reads(name, tmp_path):
  encoded, want = LOSSLESS[name]
  (tmp_path / 'any.jpg').write_bytes(encoded)
  got = image_files.read(
      tmp_path / 'any.jpg', image_size=32, channels=3, ops=(lambda i, s: i,)
  )
  want = image_ops.Resize(32)(tf.constant(np.asarray(want())), None)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_command_counts_what_it_rewrites_and_keeps_the_rest(tmp_path, capsys):
  source, output = tmp_path / 'images', tmp_path / 'out'
  (source / 'a').mkdir(parents=True)
  files = {
      'plain.jpg': PLAIN['jpeg'],
      'plain.png': PLAIN['png'],
      'turned.jpg': save(corners(), 'JPEG', exif=exif_of(6, '<')),
      'turned.png': save(corners(), 'PNG', exif=exif_of(3, '<')),
      'palette.png': LOSSLESS['palette png'][0],
      # TensorFlow misses the end, which Pillow can do without.
      'no_end.png': cut(PLAIN['png'], 12),
  }
  for name, data in files.items():
    (source / 'a' / name).write_bytes(data)
  assert main.main(['data', str(source), f'--output={output}']) == 0
  lines = capsys.readouterr().out.splitlines()
  (line,) = [l for l in lines if l.startswith('rewritten')]
  assert line == (
      'rewritten    4 pictures, as PNG or JPEG of quality 98: 2 turned by their'
      ' EXIF orientation, 1 of a palette, 1 that TensorFlow does not read'
  )
  made = json.loads((output / 'manifest.json').read_text())
  assert made['rewritten'] == {
      'turned by their EXIF orientation': 2,
      'of a palette': 1,
      'that TensorFlow does not read': 1,
  }
  # The smallest and largest by area are as a viewer shows them.
  assert made['image_sizes'] == {'smallest': [32, 48], 'largest': [48, 32]}
  found = {}
  for record in tf.data.TFRecordDataset(str(*output.glob('train-*'))):
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    name = feature['name'].bytes_list.value[0].decode()
    found[name] = feature['image'].bytes_list.value[0]
  assert set(found) == {f'a/{name}' for name in files}
  for name in ('plain.jpg', 'plain.png'):
    assert found[f'a/{name}'] == files[name]
  assert_quarters(tf.io.decode_image(found['a/turned.jpg']), *TURNED[6])
  assert_quarters(tf.io.decode_image(found['a/turned.png']), *TURNED[3])


def test_a_line_of_pixels_is_resized_within_bounds():
  line = np.zeros([1, 2000, 1], np.uint8)
  line[0, 1000:] = 200
  op = image_ops.ResizeSmall(64)
  resized = op(tf.constant(line), None)
  assert resized.shape == (64, 16 * 64, 1)
  crop = image_ops.CenterCrop(60)(resized, None).numpy()
  # The edge is in the middle of the line and of the crop.
  assert (crop[:, :30] == 0).all() and (crop[:, 30:] == 200).all()
  upright = op(tf.constant(line.transpose(1, 0, 2)), None)
  np.testing.assert_array_equal(upright[:, :, 0], resized.numpy()[..., 0].T)


def test_a_long_picture_within_the_bound_is_resized_whole():
  picture = np.arange(160, dtype=np.uint8)[None, :, None].repeat(10, axis=0)
  resized = image_ops.ResizeSmall(5)(tf.constant(picture), None).numpy()
  assert resized.shape == (5, 80, 1)
  np.testing.assert_allclose(resized[2, :, 0], np.arange(80) * 2 + 0.5)
