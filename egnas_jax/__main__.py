"""`python -m egnas_jax`."""

import sys

from egnas_jax.cli.main import main

sys.exit(main())
