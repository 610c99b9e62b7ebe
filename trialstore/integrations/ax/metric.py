"""A metric of Ax that reads its value from the run metadata of a trial."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from ax.core.base_trial import BaseTrial
from ax.core.data import Data
from ax.core.metric import Metric, MetricFetchE, MetricFetchResult
from ax.utils.common.result import Err, Ok

from trialstore.integrations.ax.results import observed
from trialstore.integrations.ax.runner import RESULT

__all__ = ["TrialStoreMetric"]


class TrialStoreMetric(Metric):
    """Reads mean, standard error and count from what the runner's function returned.

    Args:
        name: Which of the metrics in the result.
        lower_is_better: Whether small values are good; None where it does not matter.
        properties: For Ax.

    Source: axtreme, `LocalMetadataMetric`.
    """

    def fetch_trial_data(self, trial: BaseTrial, **kwargs: Any) -> MetricFetchResult:
        """One row for each arm; an `Err` that names what is wrong where the result has no such metric."""
        try:
            if RESULT not in trial.run_metadata:
                return Err(MetricFetchE(f"trial {trial.index} has no {RESULT} in its run metadata", None))
            result = trial.run_metadata[RESULT]
            several = len(trial.arms) > 1
            rows = []
            for arm in trial.arms:
                found = observed(result[arm.name] if several else result, self.name)
                rows.append(
                    {
                        "trial_index": trial.index,
                        "arm_name": arm.name,
                        "metric_name": self.name,
                        "metric_signature": self.signature,
                        "mean": float(found.mean),
                        "sem": math.nan if found.sem is None else float(found.sem),
                        **({} if found.n is None else {"n": found.n}),
                    }
                )
            return Ok(Data(df=pd.DataFrame(rows)))
        except Exception as error:
            return Err(MetricFetchE(f"metric {self.name!r} of trial {trial.index} cannot be read", error))
