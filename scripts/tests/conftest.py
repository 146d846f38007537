"""
The scripts are run as files, not as a package: their directory has to be on the path, as Python puts it there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
