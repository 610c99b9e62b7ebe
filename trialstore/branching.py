"""Experiments that are asked for again: the same one, or a new version that is branched from it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.evc.adapters import CompositeAdapter
from trialstore.evc.conflicts import Branching, Conflict, Described, detect
from trialstore.experiment import Experiment
from trialstore.family import refers_of
from trialstore.model.errors import BranchingError, DuplicateExperimentError, ExperimentNotFoundError, UsageError
from trialstore.model.metric import Metric
from trialstore.model.space import Dimension, Space
from trialstore.provenance import capture

__all__ = ["Branches"]


class Branches(ABC):
    """The verb of a store that builds experiments, in versions."""

    @abstractmethod
    def create_experiment(self, *args: Any, **options: Any) -> Experiment:
        """Add an experiment."""

    @abstractmethod
    def experiment(self, name: str, version: int | None = None, *, mode: str | None = None) -> Experiment:
        """The experiment of a name."""

    def build_experiment(
        self,
        name: str,
        *,
        version: int | None = None,
        space: Mapping[str, Dimension] | None = None,
        metrics: Sequence[Metric] | None = None,
        algorithms: Any = None,
        max_trials: int | None = None,
        max_broken: int | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        command: Sequence[str] | None = None,
        script_config: Any = None,
        repeats: bool = False,
        branching: Branching | None = None,
    ) -> Experiment:
        """The experiment as it is asked for: the one there is, a new one, or a version branched from the one there is.

        Where there is none of this name it is created, and remembers who created it from what: `metadata` has
        ``user``, ``datetime``, ``host``, ``user_script``, ``user_args`` and ``VCS``, as `trialstore.provenance` says.
        Where there is one and nothing differs, it is returned, with the limits changed that are given. Else all
        differences are found, and a new version is made whose parent it is: see `Experiment.node`, and
        ``with_evc_tree`` of `Experiment.fetch_trials`.

        Args:
            name: Its name.
            version: The version that is asked for, and branched from; the newest by default.
            space: What each parameter may be; as it was when it is not given.
            metrics: What every successful trial reports; as they were when they are not given. They cannot be branched.
            algorithms: Configuration of the algorithm; as it was when it is not given.
            max_trials: How many trials shall succeed.
            max_broken: How many may break.
            working_dir: Folder for the files of its trials.
            metadata: More to remember.
            command: The program and its arguments. When it is given, now and when the experiment was built, a
                difference in it, or in the commit of its repository, counts; this process's own is only remembered.
            script_config: What the program's configuration file holds: any value.
            repeats: Whether several trials may have equal parameters and fidelity.
            branching: How differences are resolved.

        Raises:
            BranchingError: it differs, and branching is off, or something cannot be resolved; names all differences.
            UsageError: the metrics differ, or a renaming does not fit.
            ExperimentNotFoundError: there is no such version.

        Source: Oríon, `orion.client.build_experiment`.

        Example:
            >>> import trialstore as ts
            >>> store = ts.open("memory://doctest-branch")
            >>> space = {"lr": ts.Real(0, 1)}
            >>> first = store.build_experiment("tune", space=space, metrics=[ts.Metric("loss")])
            >>> _ = first.register_trial({"lr": 0.5}, reserve=True).success(loss=0.2)
            >>> second = store.build_experiment("tune", space={**space, "depth": ts.Integer(1, 9, default=3)})
            >>> second.version, [dict(trial.params) for trial in second.fetch_trials(with_evc_tree=True)]
            (2, [{'lr': 0.5, 'depth': 3}])
        """
        chosen = branching or Branching()
        captured = capture(command)
        program = {"script_config": script_config} if script_config is not None else {}
        if command is not None:
            program["compared"] = True
        options = {
            "max_trials": max_trials,
            "max_broken": max_broken,
            "working_dir": working_dir,
            "metadata": {**captured, **program, **(metadata or {})},
            "repeats": repeats,
        }
        try:
            parent = self.experiment(name, version)
        except ExperimentNotFoundError:
            if version not in (None, 1):
                raise
            try:
                return self.create_experiment(
                    name, space=space, metrics=metrics or (), algorithms=algorithms, **options
                )
            except DuplicateExperimentError:  # somebody else was first
                parent = self.experiment(name, version)
        if metrics is not None and tuple(metrics) != parent.declared_metrics:
            raise UsageError(
                "the metrics of an experiment cannot be branched", hint="use another name", experiment=name
            )
        old = _described(parent)
        new = Described(
            space=parent.space if space is None else Space(space),
            algorithms=algorithms,
            code=_commit(captured) if command is not None else None,
            command_line=_program(captured) if command is not None else None,
            script=script_config,
        )
        conflicts = detect(old, new, chosen)
        if not conflicts and chosen.branch_to in (None, name):
            return _with_limits(parent, max_trials, max_broken)
        unresolved = [conflict for conflict in conflicts if conflict.adapter is None]
        if unresolved or not chosen.enable:
            raise BranchingError(_told(conflicts), hint=_hint(chosen), experiment=name, version=parent.version)
        refers = {
            "parent_id": parent.id,
            "root_id": refers_of(parent._ledger.entry)["root_id"],
            "adapter": CompositeAdapter(*(c.adapter for c in conflicts if c.adapter is not None)).configuration,
        }
        given = {
            **options,
            "max_trials": max_trials or parent.max_trials,
            "max_broken": max_broken or parent.max_broken,
        }
        given["working_dir"] = working_dir or parent.working_dir
        return self.create_experiment(
            chosen.branch_to or name,
            version=None,
            space=new.space,
            metrics=parent.declared_metrics,
            algorithms=parent.algorithms if algorithms is None else algorithms,
            refers=refers,
            **given,
        )


def _described(experiment: Experiment) -> Described:
    metadata = experiment.metadata
    compared = metadata.get("compared", False)
    return Described(
        space=experiment.space,
        algorithms=experiment.algorithms,
        code=_commit(metadata) if compared else None,
        command_line=_program(metadata) if compared else None,
        script=metadata.get("script_config"),
    )


def _commit(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    facts = metadata.get("VCS")
    return None if facts is None else {name: facts.get(name) for name in ("HEAD_sha", "is_dirty", "diff_sha")}


def _program(metadata: Mapping[str, Any]) -> list[Any]:
    return [metadata.get("user_script"), *metadata.get("user_args", ())]


def _with_limits(experiment: Experiment, max_trials: int | None, max_broken: int | None) -> Experiment:
    if max_trials is not None and max_trials != experiment.max_trials:
        experiment.max_trials = max_trials
    if max_broken is not None and max_broken != experiment.max_broken:
        experiment.max_broken = max_broken
    return experiment


def _told(conflicts: Sequence[Conflict]) -> str:
    lines = [f"{c.kind}: {c.message}" + ("" if c.adapter is not None else " (not resolved)") for c in conflicts]
    return "experiment is asked for otherwise than it is:\n    " + "\n    ".join(lines)


def _hint(branching: Branching) -> str:
    if not branching.enable:
        return "ask for it as it is, or pass branching=Branching()"
    return "say what each change means: Branching(code=, command_line=, script=)"
