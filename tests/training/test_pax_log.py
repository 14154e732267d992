"""What is read from the log of Pax."""

from pax_softmoe.training import pax_log
import pytest

LOG = """
I1123 08:13:02.081937 1 train.py:189]   train.num_train_steps : 20
I1123 08:13:26.477014 1 summary_utils.py:901] [PAX STATUS] step_i: 10, training loss: 2.29
I1123 08:13:26.477224 1 summary_utils.py:905] weighted_scalars: {'accuracy': (array(0.25, dtype=float32), array(64., dtype=float32)), 'loss': (array(2.29, dtype=float32), array(64., dtype=float32))}
I1123 08:13:27.000000 1 programs.py:512] steps/sec: 4.500000
I1123 08:13:31.274395 1 programs.py:878] step: 10, eval test test loss: 2.2945318
I1123 08:13:31.274732 1 programs.py:885]   accuracy=0.260000 (weight=2000.000000)
"""


def test_progress_is_read_from_the_log_of_pax():
  progress = pax_log.Progress()
  for line in LOG.splitlines():
    progress.read(line)
  assert progress == pax_log.Progress(
      total_steps=20,
      step=10,
      loss=2.29,
      accuracy=0.25,
      batch_size=64,
      steps_per_second=4.5,
      eval_step=10,
      evaluation={'loss': 2.2945318, 'accuracy': 0.26},
      eval_examples=2000,
      phase='',
  )


def test_what_a_job_says_of_itself_is_read():
  progress = pax_log.Progress()
  assert progress.phase == 'loading PaxML and TensorFlow'
  progress.read('softmoe: began: /tmp/job\n')
  assert progress.has_begun
  progress.read('softmoe: phase: restoring step 40\n')
  assert progress.phase == 'restoring step 40'
  progress.read('softmoe: ended: stopped by SIGINT at step 44; all is saved\n')
  assert progress.error == 'stopped by SIGINT at step 44; all is saved'


@pytest.mark.parametrize(
    'output, reason',
    [
        (
            """Traceback (most recent call last):
  File "x.py", line 1, in <module>
    raise ValueError('a')
ValueError: SoftMoEH14: 128 experts cannot be split

Fiddle context: failed to build
""",
            'SoftMoEH14: 128 experts cannot be split',
        ),
        (
            """Traceback (most recent call last):
  File "x.py", line 1, in <module>
zipfile.BadZipFile: Bad CRC-32 for file 'state'
I1126 07:28:17.885723 139 programs.py:1] later
""",
            "zipfile.BadZipFile: Bad CRC-32 for file 'state'",
        ),
        (
            """Traceback (most recent call last):
  File "x.py", line 1, in <module>
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 3, in <module>
jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: no memory
""",
            (
                'jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: no'
                ' memory'
            ),
        ),
        (
            """FATAL Flags parsing error:
  Unknown command line flag 'flag'
Pass --helpshort or --helpfull to see help on flags.
""",
            "Unknown command line flag 'flag'",
        ),
        (
            """FATAL Flags parsing error: flag --mode=x: value should be one of
Pass --helpshort or --helpfull to see help on flags.
""",
            'flag --mode=x: value should be one of',
        ),
        (
            """I1126 07:28:17.885723 139 programs.py:1] before
python: cannot open shared object file
I1126 07:28:17.885723 139 programs.py:1] after
""",
            'python: cannot open shared object file',
        ),
        ('I1126 07:28:17.885723 139 programs.py:1] before', None),
    ],
)
def test_the_reason_is_found_in_the_output(output, reason):
  assert pax_log.last_error(output.splitlines()) == reason
