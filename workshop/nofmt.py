"""Spare every pytest process 2.5 seconds: load with `-p workshop.nofmt`.

nbformat imports jsonschema, which imports `rfc3987_syntax` when it is
installed, and that compiles a grammar on import. No notebook needs it.
This module must be imported before anything that imports nbformat.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
