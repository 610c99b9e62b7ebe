"""mlos_bench's own command line, which knows `TrialStoreStorage` in a storage configuration."""

from __future__ import annotations

import sys

from mlos_bench.run import _shell_main

from trialstore.integrations.mlos_bench.schema import register_schema

if __name__ == "__main__":
    register_schema()
    sys.exit(_shell_main())
