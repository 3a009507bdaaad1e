"""`python -m egnas_jax`."""

import sys

from egnas_jax.cli import main

sys.exit(main())
