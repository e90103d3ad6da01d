"""`python -m scoredistill`."""

import sys

from scoredistill.cli import main

sys.exit(main())
