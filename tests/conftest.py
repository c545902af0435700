"""Before any test: tables of the commands are wide enough that no word in them is broken."""

import os

os.environ["COLUMNS"] = "200"  # read once, when nisqkit.cli.console is imported
