"""`python -m trialstore.integrations.optuna optuna …` and `… optuna-dashboard …`."""

from __future__ import annotations

import sys

from trialstore.integrations.optuna.programs import main

if __name__ == "__main__":
    sys.exit(main())
