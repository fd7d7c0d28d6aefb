"""What every loader process has from its server, which imports this after all else. Nobody else may import it."""

import sys

MODULES = frozenset(sys.modules)
